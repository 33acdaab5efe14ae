/* encoder.h: turns the pieces of a document into ids, with bounded memory, as they come.
 *
 * The ids never depend on how a document was cut into pieces.  Text that is not UTF-8 falls into runs of UTF-8, which are matched
 * each on its own, and wrong bytes, each a word.  A match sees at most ENCODER_WINDOW bytes, so no word is longer. */
#ifndef AIOS_DATA_ENCODER_H
#define AIOS_DATA_ENCODER_H

#include "data/tokenizer.h"

#define ENCODER_WINDOW ((size_t)256 << 10)

typedef struct encoder encoder;
/* Receives ids in order. */
typedef aios_status (*encoder_put)(void *user, const int32_t *ids, size_t count);

/* cached: remember the ids of short words (1 MiB).  Borrows the tokenizer.  One thread at a time. */
aios_status encoder_create(const aios_tokenizer *tokenizer, int cached, encoder_put put, void *user, encoder **made);
void encoder_destroy(encoder *e);
/* More of the document. */
aios_status encoder_add(encoder *e, const char *bytes, size_t size);
/* The document is complete: every id was put.  The next one may begin. */
aios_status encoder_end(encoder *e);
/* A whole document that needs no copy. */
aios_status encoder_text(encoder *e, const char *bytes, size_t size);
/* Puts an id that stands between texts. */
aios_status encoder_put_id(encoder *e, int32_t id);

#endif
