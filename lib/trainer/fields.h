/* fields.h (internal): an object of JSON, field by field: what events, metrics and reports are made of. */
#ifndef AIOS_TRAINER_FIELDS_H
#define AIOS_TRAINER_FIELDS_H

#include "base/text.h"

/* {"step": 1, …; begin, add, end.  The first failure stays in text.status; fields_end returns it. */
struct fields {
    text_buffer text;
};
void fields_begin(struct fields *fields, aios_context *context);
void fields_int(struct fields *fields, const char *name, int64_t value);
void fields_number(struct fields *fields, const char *name, double value); /* null where it is not finite */
void fields_bool(struct fields *fields, const char *name, int value);
void fields_text(struct fields *fields, const char *name, const char *value); /* bytes that are no UTF-8 become '?' */
void fields_json(struct fields *fields, const char *name, const char *json);  /* NULL: null */
aios_status fields_end(struct fields *fields);
void fields_free(struct fields *fields);

#endif
