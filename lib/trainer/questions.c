#include "questions.h"

#include "base/context.h"
#include "base/json.h"
#include "base/os.h"
#include "base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHOICES_MOST = 256 };

/* ---- a line ------------------------------------------------------------------------------------------------------- */

static const json_t *member(const json_t *line, const char *const *names)
{
    const json_t *value = NULL;
    for (; *names && !value; names++) value = json_object_get(line, *names);
    return value;
}

static int find_answer(const json_t *answer, const json_t *choices)
{
    size_t index, count = json_array_size(choices);
    json_t *choice;
    int64_t number = -1;
    if (json_is_integer(answer)) number = json_integer_value(answer);
    json_array_foreach ((json_t *)(uintptr_t)choices, index, choice)
        if (json_is_string(answer) && json_equal(answer, choice)) return (int)index;
    if (json_is_string(answer) && !text_to_int(json_string_value(answer), &number)) number = -1;
    return number >= 0 && (uint64_t)number < count ? (int)number : -1;
}

static int32_t count_characters(const char *text)
{
    int32_t count = 0;
    for (; *text; text++) count += (*text & 0xc0) != 0x80;
    return count;
}

static aios_status encode(struct questions *q, const char *text, size_t size, int32_t **ids, size_t *count)
{
    *ids = aios_memory_array(q->context, size + 2, sizeof **ids);
    if (!*ids) return AIOS_OUT_OF_MEMORY;
    return aios_tokenizer_encode(q->tokenizer, text, size, *ids, size + 1, count);
}

/* Tokens of a row: all of the choice, and as much of the context before it as there is room for. */
static aios_status add_row(struct questions *q, const int32_t *ids, size_t count, size_t before, int32_t characters)
{
    size_t answer = count - before, room = (size_t)q->sequence + 1;
    if (answer > (size_t)q->sequence)
        return FAIL(AIOS_INVALID_ARGUMENT, "a choice has %zu tokens: at most %d fit (max-seq-len)", answer, q->sequence);
    size_t taken = count < room ? count : room;
    TRY_QUIET(aios_memory_grow(q->context, (void **)&q->tokens, &q->token_capacity, (size_t)q->token_count + taken, sizeof *q->tokens));
    TRY_QUIET(aios_memory_grow(q->context, (void **)&q->rows, &q->row_capacity, (size_t)q->row_count + 1, sizeof *q->rows));
    memcpy(q->tokens + q->token_count, ids + (count - taken), taken * sizeof *ids);
    q->rows[q->row_count++] = (struct question_row){q->token_count, (int32_t)taken, (int32_t)answer, characters};
    q->token_count += (int64_t)taken;
    return AIOS_OK;
}

/* Context and choice are encoded together, so that the words at their border are those of a text. */
static aios_status add_choice(struct questions *q, const char *context, size_t context_size, const char *delimiter, const char *choice)
{
    text_buffer whole;
    int32_t *ids = NULL, *own = NULL, end = aios_tokenizer_end_of_text(q->tokenizer);
    size_t count = 0, before = 0;
    text_init(&whole, q->context);
    int alone = context_size == 0;
    if (alone && end < 0)
        return FAIL(AIOS_INVALID_ARGUMENT, "the context is empty, and tokenizer %s has no end-of-text token to stand for it",
                    aios_tokenizer_name(q->tokenizer));
    (void)text_add(&whole, context);
    (void)text_add(&whole, alone ? "" : delimiter);
    (void)text_add(&whole, choice);
    aios_status status = whole.status;
    if (status == AIOS_OK) status = encode(q, whole.bytes ? whole.bytes : "", whole.size, &ids, &count);
    if (status == AIOS_OK && !alone) status = encode(q, context, context_size, &own, &before);
    if (status == AIOS_OK && alone) {
        memmove(ids + 1, ids, count * sizeof *ids); /* there is room for one more */
        ids[0] = end;
        before = 1;
        count++;
    }
    if (status == AIOS_OK && count <= before)
        status = FAIL(AIOS_INVALID_ARGUMENT, "choice \"%.48s\" has no token of its own behind the context", choice);
    if (status == AIOS_OK) status = add_row(q, ids, count, before, count_characters(choice));
    text_free(&whole);
    aios_memory_free(q->context, ids);
    aios_memory_free(q->context, own);
    return status;
}

static aios_status add_question(struct questions *q, const json_t *line)
{
    static const char *const contexts[] = {"context", "ctx", "query", "question", NULL}, *const lists[] = {"choices", "endings", NULL},
                             *const answers[] = {"answer", "gold", "label", NULL}, *const delimiters[] = {"delimiter", NULL};
    const json_t *context = member(line, contexts), *choices = member(line, lists), *delimiter = member(line, delimiters);
    size_t count = json_array_size(choices), index;
    json_t *choice;
    if (!json_is_string(context)) return FAIL(AIOS_INVALID_ARGUMENT, "it has no text \"context\" (or ctx, query, question)");
    if (count < 2 || count > CHOICES_MOST)
        return FAIL(AIOS_INVALID_ARGUMENT, "it must have from 2 to %d texts in \"choices\" (or endings), and has %zu", CHOICES_MOST, count);
    if (delimiter && !json_is_string(delimiter)) return FAIL(AIOS_INVALID_ARGUMENT, "\"delimiter\" must be a text");
    int answer = find_answer(member(line, answers), choices);
    if (answer < 0)
        return FAIL(AIOS_INVALID_ARGUMENT, "\"answer\" (or gold, label) must be a choice, or its number from 0 to %zu", count - 1);
    TRY_QUIET(aios_memory_grow(q->context, (void **)&q->list, &q->capacity, (size_t)q->count + 1, sizeof *q->list));
    q->list[q->count++] = (struct question){q->row_count, (int32_t)count, answer};
    const char *text = json_string_value(context);
    size_t size = strlen(text);
    while (size > 0 && strchr(" \t\n\v\f\r", text[size - 1])) size--; /* blanks at its end are the choice's */
    json_array_foreach ((json_t *)(uintptr_t)choices, index, choice) {
        if (!json_is_string(choice)) return FAIL(AIOS_INVALID_ARGUMENT, "choice %zu is no text", index);
        TRY_QUIET(add_choice(q, text, size, delimiter ? json_string_value(delimiter) : " ", json_string_value(choice)));
    }
    return AIOS_OK;
}

/* ---- the file ----------------------------------------------------------------------------------------------------- */

static aios_status read_line(struct questions *q, const char *text, size_t size)
{
    json_t *line;
    TRY_QUIET(json_parse(text, size, "its text", NULL, &line));
    aios_status status = add_question(q, line);
    json_decref(line);
    return status;
}

static aios_status read_lines(struct questions *q, const char *path, const char *text, size_t size)
{
    size_t at = size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* the mark of UTF-8 */
    for (int64_t number = 1; at < size; number++) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t length = end ? (size_t)(end - text) - at : size - at, blank = 0;
        while (blank < length && memchr(" \r\t", text[at + blank], 3)) blank++;
        if (blank < length) TRY(read_line(q, text + at, length), "%s, line %lld", path, (long long)number);
        at += length + 1;
    }
    return q->count ? AIOS_OK : FAIL(AIOS_INVALID_ARGUMENT, "%s has no question: one JSON object per line is wanted", path);
}

aios_status questions_open(struct questions *q, aios_context *context, const char *path, const aios_tokenizer *tokenizer, int32_t sequence)
{
    os_map map;
    *q = (struct questions){.context = context, .tokenizer = tokenizer, .sequence = sequence};
    TRY(os_map_open(path, &map), "option task-file");
    aios_status status = read_lines(q, path, (const char *)map.address, map.size);
    os_map_close(&map);
    if (status != AIOS_OK) questions_close(q);
    return status == AIOS_OK ? status : aios_error_add_frame(status, "option task-file");
}

void questions_close(struct questions *q)
{
    if (!q->context) return;
    aios_memory_free(q->context, q->tokens);
    aios_memory_free(q->context, q->rows);
    aios_memory_free(q->context, q->list);
    *q = (struct questions){.context = NULL};
}

/* ---- rows --------------------------------------------------------------------------------------------------------- */

void questions_read(const struct questions *q, int64_t first, int64_t count, int32_t *tokens, int32_t *labels)
{
    for (int64_t i = 0; i < count * q->sequence; i++) {
        tokens[i] = 0;
        labels[i] = -1; /* takes no part in the loss */
    }
    for (int64_t i = 0; i < count && first + i < q->row_count; i++) {
        const struct question_row *row = &q->rows[first + i];
        const int32_t *from = q->tokens + row->first;
        int32_t *x = tokens + i * q->sequence, *y = labels + i * q->sequence;
        for (int32_t k = 0; k + 1 < row->count; k++) {
            x[k] = from[k];
            if (k + 1 >= row->count - row->answer_count) y[k] = from[k + 1];
        }
    }
}

int questions_judge(const struct questions *q, const struct question *one, const double *losses, int *norm)
{
    const struct question_row *rows = q->rows + one->first;
    const double *l = losses + one->first;
    int32_t best = 0, best_norm = 0;
    for (int32_t c = 1; c < one->choices; c++) {
        if (l[c] < l[best]) best = c;
        if (l[c] / fmax(1, rows[c].characters) < l[best_norm] / fmax(1, rows[best_norm].characters)) best_norm = c;
    }
    *norm = best_norm == one->answer;
    return best == one->answer;
}
