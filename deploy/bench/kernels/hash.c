/* A hash byte by byte whose steps depend on the bytes: branches that are hard to foresee. */
#include <stdint.h>
#include <stdio.h>

enum { LENGTH = 1 << 20, ROUNDS = 60 };

static uint8_t text[LENGTH];

int main(void) {
    uint32_t state = 2463534242u;
    for (int index = 0; index < LENGTH; index++) {
        state = state * 1664525u + 1013904223u;
        text[index] = (uint8_t)(state >> 24);
    }
    uint64_t hash = 14695981039346656037u;
    for (int round = 0; round < ROUNDS; round++) {
        for (int index = 0; index < LENGTH; index++) {
            uint8_t byte = text[index];
            if (byte < 64) {
                hash = (hash ^ byte) * 1099511628211u;
            } else if (byte & 1) {
                hash += (hash << 5) + byte;
            } else {
                hash ^= hash >> (byte & 15);
            }
        }
    }
    printf("%016llx\n", (unsigned long long)hash);
    return 0;
}
