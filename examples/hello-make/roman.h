/* Roman numerals, from I (1) to MMMCMXCIX (3999). */
#ifndef ROMAN_H
#define ROMAN_H

#include <stddef.h>

/* The longest numeral, MMMDCCCLXXXVIII (3888), and its end. */
#define ROMAN_SIZE 16

/* Writes number as a numeral into text, which has room for size characters. Returns 0, or -1 if the
 * number has no numeral or the room does not suffice. */
int roman_format(unsigned number, char *text, size_t size);

/* The number that text stands for in its usual form, or 0 if it is no such numeral. */
unsigned roman_parse(const char *text);

#endif
