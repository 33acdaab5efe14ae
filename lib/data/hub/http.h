/* http.h: GET over HTTP, by libcurl, which is opened when it is first wanted.
 *
 * An attempt that fails for a reason that may pass (no connection, a broken or silent one, 408, 429, 500, 502, 503, 504) is made again
 * after a pause that doubles, or that the server's Retry-After asks for.  Attempts are counted while nothing comes: a connection that
 * breaks after each megabyte still brings the file. */
#ifndef AIOS_DATA_HUB_HTTP_H
#define AIOS_DATA_HUB_HTTP_H

#include "base/context.h"
#include "hub.h"

typedef struct http http;

/* The sum of bytes of the answer so far.  Anything but AIOS_OK, with an error record, ends the transfer. */
typedef aios_status (*http_progress)(void *user, uint64_t done);

/* library NULL: libcurl by its usual names.  Errors: UNAVAILABLE (what is missing, what to do), OUT_OF_MEMORY. */
aios_status http_open(aios_context *context, const hub_options *options, http **made);
void http_close(http *h); /* NULL is fine */
/* Sent to the server that is asked alone, never to one that it redirects to.  "" or NULL: none. */
aios_status http_set_token(http *h, const char *token);
void http_set_progress(http *h, http_progress progress, void *user);

/* A whole answer of at most `most` bytes, in memory of the context, a 0 behind it.  Errors: NOT_FOUND (401, 403, 404, 410), UNAVAILABLE
 * (other answers; attempts used up), OUT_OF_RANGE (longer), TIMEOUT, those of progress, OUT_OF_MEMORY. */
aios_status http_get(http *h, const char *url, size_t most, char **text, size_t *size);
/* The answer, of `size` bytes, at the end of a file that holds its first ones or none.  Errors: as http_get, CORRUPT (the server has
 * another number of bytes), IO. */
aios_status http_get_file(http *h, const char *url, uint64_t size, const char *path);

#endif
