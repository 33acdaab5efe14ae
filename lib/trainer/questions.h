/* questions.h (internal): multiple-choice questions, as rows of tokens and labels: each choice behind its context, of which the model's
 * log-likelihood is asked.
 *
 * A file has one JSON object per line: {"context": "…", "choices": ["…", …], "answer": 0}; the names that public sets use are understood
 * too ("ctx", "query", "question"; "endings"; "gold", "label").  answer is a choice's number from 0, or its text.  As in EleutherAI's
 * lm-evaluation-harness a blank stands between context and choice ("delimiter" is another text), both are encoded together, blanks at the
 * context's end count as the choice's, an empty context is the end-of-text token, and a context that is too long loses its beginning. */
#ifndef AIOS_TRAINER_QUESTIONS_H
#define AIOS_TRAINER_QUESTIONS_H

#include "base/error.h"
#include <aios/tokenizer.h>

struct question_row {
    int64_t first;               /* of its tokens */
    int32_t count, answer_count; /* tokens; how many of them, at the end, are the choice's */
    int32_t characters;          /* of the choice */
};
struct question {
    int64_t first; /* of its rows */
    int32_t choices, answer;
};
struct questions {
    aios_context *context;
    const aios_tokenizer *tokenizer;
    int32_t sequence, *tokens;
    struct question_row *rows;
    struct question *list;
    int64_t count, row_count, token_count;
    size_t capacity, row_capacity, token_capacity;
};

/* Errors: NOT_FOUND, IO, CORRUPT and INVALID_ARGUMENT, which name the line. */
aios_status questions_open(struct questions *questions, aios_context *context, const char *path, const aios_tokenizer *tokenizer,
                           int32_t sequence);
void questions_close(struct questions *questions); /* what was zeroed is fine */
/* Rows first … first + count - 1; those past the last have no labels. */
void questions_read(const struct questions *questions, int64_t first, int64_t count, int32_t *tokens, int32_t *labels);
/* Is the likeliest choice the answer: by the whole log-likelihood, and by that per character of the choice?  losses: nats of each row's
 * labels. */
int questions_judge(const struct questions *questions, const struct question *one, const double *losses, int *norm);

#endif
