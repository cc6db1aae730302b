/* A chain of 64-bit shifts and exclusive ors: one dependent instruction after another. */
#include <stdint.h>
#include <stdio.h>

int main(void) {
    uint64_t state = 88172645463325252u;
    uint64_t sum = 0;
    for (uint32_t round = 0; round < 300000000u; round++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        sum += state;
    }
    printf("%016llx\n", (unsigned long long)sum);
    return 0;
}
