#include "pattern.h"

#include "base/text.h"

#include <string.h>

struct pattern {
    aios_context *context;
    pcre2_general_context *memory;
    pcre2_code *code;
};

/* Unicode's White_Space.  PCRE2's \s has U+180E too. */
#define WHITE "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

static void *take_memory(size_t size, void *context)
{
    return aios_memory_alloc(context, size);
}

static void give_memory(void *pointer, void *context)
{
    aios_memory_free(context, pointer);
}

/* ---- Oniguruma's words in PCRE2's -------------------------------------------------------------------------------- */

typedef struct translation {
    const char *at;
    int in_class, negated;
    text_buffer out;
} translation;

static aios_status refuse(const translation *t, const char *what)
{
    return FAIL(AIOS_UNSUPPORTED, "%s at \"%.20s\" of the pattern can't be honoured exactly", what, t->at);
}

/* \p{L} is a general category, \p{Han} a script. */
static aios_status translate_property(translation *t)
{
    char name[40];
    size_t length = 0;
    const char *from = t->at + 2, letter = t->at[1];
    if (*from != '{') return refuse(t, "a property without braces");
    from++;
    if (*from == '^') return refuse(t, "a negated property");
    while (from[length] && from[length] != '}') length++;
    if (from[length] != '}' || length == 0 || length >= sizeof name) return refuse(t, "a property");
    memcpy(name, from, length);
    name[length] = 0;
    int category = length <= 2 && strchr("LMNPSZC", name[0]);
    TRY_QUIET(category ? text_format(&t->out, "\\%c{%s}", letter, name) : text_format(&t->out, "\\%c{sc:%s}", letter, name));
    t->at = from + length + 1;
    return AIOS_OK;
}

/* \uHHHH, which PCRE2 writes \x{HHHH}. */
static aios_status translate_code_point(translation *t)
{
    if (strspn(t->at + 2, "0123456789abcdefABCDEF") < 4) return refuse(t, "an escape");
    TRY_QUIET(text_format(&t->out, "\\x{%.4s}", t->at + 2));
    t->at += 6;
    return AIOS_OK;
}

static aios_status translate_escape(translation *t)
{
    char c = t->at[1];
    if (c == 'p' || c == 'P') return translate_property(t);
    if (c == 'u') return translate_code_point(t);
    if (c == 's') {
        TRY_QUIET(text_add(&t->out, t->in_class ? WHITE : "[" WHITE "]"));
    } else if (c == 'S') {
        if (t->in_class) return refuse(t, "\\S in a class");
        TRY_QUIET(text_add(&t->out, "[^" WHITE "]"));
    } else if (c == 'v') {
        TRY_QUIET(text_add(&t->out, "\\x0b"));
    } else if (c == 'r' || c == 'n' || c == 't' || c == 'f' || c == 'x' || c == 'd' || c == 'D' ||
               (c && strchr("\\/.^$|?*+()[]{}-'\"#&~<>=!:;,@%_` ", c))) {
        TRY_QUIET(text_add_bytes(&t->out, t->at, 2));
    } else {
        return refuse(t, "an escape");
    }
    t->at += 2;
    return AIOS_OK;
}

static aios_status translate_class_part(translation *t)
{
    if (*t->at == '[') return refuse(t, "a class in a class");
    if (*t->at == '&' && t->at[1] == '&') return refuse(t, "an intersection of classes");
    if (*t->at == ']') t->in_class = 0;
    TRY_QUIET(text_add_bytes(&t->out, t->at, 1));
    t->at++;
    return AIOS_OK;
}

static aios_status translate_part(translation *t)
{
    static const char *const groups[] = {"(?:", "(?i:", "(?=", "(?!", "(?>"};
    if (*t->at == '\\') return translate_escape(t);
    if (t->in_class) return translate_class_part(t);
    size_t length = 1;
    if (*t->at == '^' || *t->at == '$') return refuse(t, "an anchor");
    if (*t->at == '}' && t->at[1] == '+') return refuse(t, "a repeated repetition");
    if (*t->at == '(') {
        if (t->at[1] == '*') return refuse(t, "a verb");
        for (size_t i = 0; i < COUNT_OF(groups); i++)
            if (strncmp(t->at, groups[i], strlen(groups[i])) == 0) length = strlen(groups[i]);
        if (t->at[1] == '?' && length == 1) return refuse(t, "a group of this kind");
    }
    if (*t->at == '[') {
        t->in_class = 1;
        if (t->at[1] == '^') length = 2;
        if (t->at[length] == ']') return refuse(t, "an empty class");
    }
    TRY_QUIET(text_add_bytes(&t->out, t->at, length));
    t->at += length;
    return AIOS_OK;
}

/* ---- compiling --------------------------------------------------------------------------------------------------- */

static aios_status compile(pattern *p, const char *text, size_t size)
{
    int error;
    PCRE2_SIZE where;
    uint32_t behind = 0, nothing = 0;
    p->memory = pcre2_general_context_create(take_memory, give_memory, p->context);
    pcre2_compile_context *options = p->memory ? pcre2_compile_context_create(p->memory) : NULL;
    if (!options) return FAIL(AIOS_OUT_OF_MEMORY, "no memory to compile a pattern");
    (void)pcre2_set_newline(options, PCRE2_NEWLINE_LF);
    p->code = pcre2_compile((PCRE2_SPTR)text, size, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &where, options);
    pcre2_compile_context_free(options);
    if (!p->code) {
        char reason[160];
        (void)pcre2_get_error_message(error, (PCRE2_UCHAR *)reason, sizeof reason);
        return FAIL(error == PCRE2_ERROR_HEAP_FAILED ? AIOS_OUT_OF_MEMORY : AIOS_CORRUPT, "at byte %zu of the pattern: %s", (size_t)where,
                    reason);
    }
    (void)pcre2_pattern_info(p->code, PCRE2_INFO_MAXLOOKBEHIND, &behind);
    (void)pcre2_pattern_info(p->code, PCRE2_INFO_MATCHEMPTY, &nothing);
    if (behind) return FAIL(AIOS_UNSUPPORTED, "the pattern looks behind, which can't be honoured");
    if (nothing) return FAIL(AIOS_UNSUPPORTED, "the pattern can match nothing, which can't be honoured");
    /* Where code can't be made at run time, PCRE2 interprets: slower, the same words. */
    (void)pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);
    return AIOS_OK;
}

static aios_status compile_translated(translation *t, pattern **compiled)
{
    pattern *made = aios_new(t->out.context, pattern);
    if (!made) return AIOS_OUT_OF_MEMORY;
    made->context = aios_context_retain(t->out.context);
    aios_status status = compile(made, t->out.bytes ? t->out.bytes : "", t->out.size);
    if (status == AIOS_OK)
        *compiled = made;
    else
        pattern_free(made);
    return status;
}

aios_status pattern_compile(aios_context *context, const char *text, pattern **compiled)
{
    aios_status status = AIOS_OK;
    translation t = {.at = text};
    *compiled = NULL;
    text_init(&t.out, context);
    while (*t.at) ATTEMPT(translate_part(&t), "pattern %.120s", text);
    ATTEMPT(compile_translated(&t, compiled), "pattern %.120s", text);
done:
    text_free(&t.out);
    return status;
}

aios_status pattern_compile_literal(aios_context *context, const char *text, pattern **compiled)
{
    aios_status status = AIOS_OK;
    translation t = {.at = text};
    *compiled = NULL;
    text_init(&t.out, context);
    for (; *t.at; t.at++) {
        if (strchr("\\^$.|?*+()[]{}#", *t.at)) ATTEMPT_QUIET(text_add(&t.out, "\\"));
        ATTEMPT_QUIET(text_add_bytes(&t.out, t.at, 1));
    }
    ATTEMPT(compile_translated(&t, compiled), "pattern %.120s", text);
done:
    text_free(&t.out);
    return status;
}

void pattern_free(pattern *p)
{
    if (!p) return;
    aios_context *context = p->context;
    pcre2_code_free(p->code);
    pcre2_general_context_free(p->memory);
    aios_memory_free(context, p);
    aios_context_release(context);
}

/* ---- matching ---------------------------------------------------------------------------------------------------- */

aios_status matcher_init(matcher *m, aios_context *context)
{
    *m = (matcher){NULL, NULL, NULL, NULL};
    m->memory = pcre2_general_context_create(take_memory, give_memory, context);
    if (m->memory) m->context = pcre2_match_context_create(m->memory);
    if (m->context) m->data = pcre2_match_data_create(1, m->memory);
    if (!m->data) return FAIL(AIOS_OUT_OF_MEMORY, "no memory to match a pattern");
    m->stack = pcre2_jit_stack_create((size_t)32 << 10, (size_t)4 << 20, m->memory); /* none: PCRE2 is content with the thread's */
    pcre2_jit_stack_assign(m->context, NULL, m->stack);
    return AIOS_OK;
}

void matcher_free(matcher *m)
{
    if (m->stack) pcre2_jit_stack_free(m->stack);
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    pcre2_general_context_free(m->memory);
}

aios_status pattern_match(const pattern *p, matcher *m, const char *text, size_t size, int open, int *found, size_t *start, size_t *end)
{
    uint32_t options = PCRE2_NO_UTF_CHECK | (open ? PCRE2_PARTIAL_HARD : 0);
    int answer = pcre2_match(p->code, (PCRE2_SPTR)text, size, 0, options, m->data, m->context);
    const PCRE2_SIZE *where = pcre2_get_ovector_pointer(m->data);
    *found = answer == PCRE2_ERROR_PARTIAL ? MATCH_PARTIAL : answer == PCRE2_ERROR_NOMATCH ? MATCH_NONE : MATCH_FOUND;
    *start = *end = 0;
    if (answer >= 0) {
        *start = where[0];
        *end = where[1];
    } else if (answer == PCRE2_ERROR_NOMEMORY) {
        return FAIL(AIOS_OUT_OF_MEMORY, "no memory to match a pattern");
    } else if (answer != PCRE2_ERROR_PARTIAL && answer != PCRE2_ERROR_NOMATCH) {
        char reason[160];
        (void)pcre2_get_error_message(answer, (PCRE2_UCHAR *)reason, sizeof reason);
        return FAIL(AIOS_UNSUPPORTED, "the tokenizer's pattern can't be matched against this text: %s", reason);
    }
    return AIOS_OK;
}
