/* pattern.h: the regular expressions that cut text into words, over PCRE2.
 *
 * tokenizer.json writes them for Oniguruma.  What means the same in PCRE2 is kept, what can be written differently is rewritten (\s
 * is Unicode's White_Space, \p{Han} a script, not its extension), anything else is refused.  A pattern never looks behind the
 * start of a match, so matching can start at any word, and never matches nothing. */
#ifndef AIOS_DATA_PATTERN_H
#define AIOS_DATA_PATTERN_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include "base/context.h"
#include <pcre2.h>

/* GPT-2's, from its encoder.py. */
#define PATTERN_GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* Immutable; used by any thread. */
typedef struct pattern pattern;

/* Errors: UNSUPPORTED (what in the pattern can't be honoured), CORRUPT (no pattern at all), OUT_OF_MEMORY. */
aios_status pattern_compile(aios_context *context, const char *text, pattern **compiled);
/* Matches exactly this text. */
aios_status pattern_compile_literal(aios_context *context, const char *text, pattern **compiled);
void pattern_free(pattern *p);

/* What one thread needs to match. */
typedef struct matcher {
    pcre2_general_context *memory;
    pcre2_match_context *context;
    pcre2_match_data *data;
    pcre2_jit_stack *stack;
} matcher;
aios_status matcher_init(matcher *m, aios_context *context);
void matcher_free(matcher *m);

enum { MATCH_FOUND = 1, MATCH_NONE = 0, MATCH_PARTIAL = -1 };
/* The first match in text, which is UTF-8.  open: more may follow the text; then *found is MATCH_PARTIAL where what follows could
 * change the answer.  Errors: UNSUPPORTED (too many steps), OUT_OF_MEMORY. */
aios_status pattern_match(const pattern *p, matcher *m, const char *text, size_t size, int open, int *found, size_t *start, size_t *end);

#endif
