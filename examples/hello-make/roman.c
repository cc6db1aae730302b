#include "roman.h"

#include <string.h>

#define LARGEST 3999

static const struct {
    unsigned value;
    const char *letters;
} digits[] = {
    {1000, "M"}, {900, "CM"}, {500, "D"}, {400, "CD"}, {100, "C"}, {90, "XC"}, {50, "L"},
    {40, "XL"},  {10, "X"},
#ifndef BROKEN /* Without it nine becomes VIV: what a forgotten case looks like. */
    {9, "IX"},
#endif
    {5, "V"},    {4, "IV"},  {1, "I"},
};

enum { DIGITS = sizeof digits / sizeof digits[0] };

int roman_format(unsigned number, char *text, size_t size)
{
    size_t used = 0;

    if (number == 0 || number > LARGEST)
        return -1;
    for (int i = 0; i < DIGITS; i++) {
        size_t length = strlen(digits[i].letters);
        while (number >= digits[i].value) {
            if (size - used <= length)
                return -1;
            memcpy(text + used, digits[i].letters, length);
            used += length;
            number -= digits[i].value;
        }
    }
    text[used] = '\0';
    return 0;
}

unsigned roman_parse(const char *text)
{
    char usual[ROMAN_SIZE];
    const char *rest = text;
    unsigned number = 0;

    for (int i = 0; i < DIGITS; i++) {
        size_t length = strlen(digits[i].letters);
        while (strncmp(rest, digits[i].letters, length) == 0 && number <= LARGEST) {
            number += digits[i].value;
            rest += length;
        }
    }
    /* IIII and IXI have been read too, but they are not how the number is written. */
    if (*rest != '\0' || roman_format(number, usual, sizeof usual) != 0)
        return 0;
    return strcmp(usual, text) == 0 ? number : 0;
}
