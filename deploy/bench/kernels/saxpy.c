/* A loop over floats that compilers turn into vector instructions. */
#include <stdio.h>

enum { LENGTH = 16384, ROUNDS = 300000 };

static float x[LENGTH], y[LENGTH];

static void __attribute__((noinline)) saxpy(float factor) {
    for (int index = 0; index < LENGTH; index++) {
        y[index] = factor * x[index] + y[index];
    }
}

int main(void) {
    for (int index = 0; index < LENGTH; index++) {
        x[index] = (float)(index % 17);
        y[index] = 1;
    }
    for (int round = 0; round < ROUNDS; round++) {
        saxpy(round % 2 == 0 ? 0.5f : -0.5f);
    }
    double sum = 0;
    for (int index = 0; index < LENGTH; index++) {
        sum += y[index];
    }
    printf("%.3f\n", sum);
    return 0;
}
