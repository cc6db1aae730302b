/* Primes below fifty million, a byte for each number: stores all over a large memory. */
#include <stdio.h>
#include <stdlib.h>

enum { LIMIT = 50000000 };

int main(void) {
    unsigned char *composite = calloc(LIMIT, 1);
    if (composite == NULL) {
        return 1;
    }
    for (long number = 2; number * number < LIMIT; number++) {
        if (!composite[number]) {
            for (long multiple = number * number; multiple < LIMIT; multiple += number) {
                composite[multiple] = 1;
            }
        }
    }
    long primes = 0;
    for (long number = 2; number < LIMIT; number++) {
        primes += !composite[number];
    }
    printf("%ld\n", primes);
    return 0;
}
