/* Tests of roman.c. The output is TAP: a plan, then a line for each test. */
#include "roman.h"

#include <stdio.h>
#include <string.h>

static int tests, failures;

static void ok(int passed, const char *what)
{
    tests++;
    if (!passed)
        failures++;
    printf("%s %d - %s\n", passed ? "ok" : "not ok", tests, what);
}

static void formats(unsigned number, const char *expected)
{
    char text[ROMAN_SIZE] = "";
    char what[64];
    int status = roman_format(number, text, sizeof text);

    snprintf(what, sizeof what, "%u is %s", number, expected);
    ok(status == 0 && strcmp(text, expected) == 0, what);
    if (strcmp(text, expected) != 0)
        printf("# got %s\n", text);
}

static void refuses(const char *text)
{
    char what[64];

    snprintf(what, sizeof what, "\"%s\" is no numeral", text);
    ok(roman_parse(text) == 0, what);
}

int main(void)
{
    char text[ROMAN_SIZE];
    int survived = 1;

    printf("1..13\n");
    formats(1, "I");
    formats(4, "IV");
    formats(1969, "MCMLXIX");
    formats(2026, "MMXXVI");
    formats(3888, "MMMDCCCLXXXVIII");
    ok(roman_format(0, text, sizeof text) == -1, "there is no zero");
    ok(roman_format(4000, text, sizeof text) == -1, "4000 is too large");
    ok(roman_format(3888, text, ROMAN_SIZE - 1) == -1, "room for the end is needed");
    for (unsigned number = 1; number <= 3999; number++)
        if (roman_format(number, text, sizeof text) != 0 || roman_parse(text) != number)
            survived = 0;
    ok(survived, "every number survives a round trip");
    refuses("");
    refuses("IIII");
    refuses("IXI");
    refuses("hello");
    return failures == 0 ? 0 : 1;
}
