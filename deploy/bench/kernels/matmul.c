/* Three nested loops over matrices of doubles, as one writes them first. */
#include <stdio.h>

enum { SIZE = 640 };

static double left[SIZE][SIZE], right[SIZE][SIZE], product[SIZE][SIZE];

int main(void) {
    for (int row = 0; row < SIZE; row++) {
        for (int column = 0; column < SIZE; column++) {
            left[row][column] = (row * 7 + column) % 13;
            right[row][column] = (row + column * 5) % 11;
        }
    }
    for (int row = 0; row < SIZE; row++) {
        for (int column = 0; column < SIZE; column++) {
            double sum = 0;
            for (int inner = 0; inner < SIZE; inner++) {
                sum += left[row][inner] * right[inner][column];
            }
            product[row][column] = sum;
        }
    }
    double trace = 0;
    for (int row = 0; row < SIZE; row++) {
        trace += product[row][row];
    }
    printf("%.0f\n", trace);
    return 0;
}
