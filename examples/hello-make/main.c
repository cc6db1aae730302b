/* Prints its arguments as Roman numerals. */
#include "roman.h"

#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments)
{
    for (int i = 1; i < count; i++) {
        char text[ROMAN_SIZE];
        unsigned long number = strtoul(arguments[i], NULL, 10);

        if (number > 3999 || roman_format((unsigned)number, text, sizeof text) != 0) {
            fprintf(stderr, "%s has no Roman numeral\n", arguments[i]);
            return 1;
        }
        puts(text);
    }
    return 0;
}
