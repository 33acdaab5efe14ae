/* merge_tables.h (internal): tables of rows of devices that train on their own.  A row becomes the mean, by tokens, over those who used
 * it since the last meeting: the others' is the old one. */
#ifndef AIOS_TRAINER_MERGE_TABLES_H
#define AIOS_TRAINER_MERGE_TABLES_H

#include "crew.h"

/* Host memory for the crew's tables, and what is in them now.  Nothing where the model has none. */
aios_status merge_tables_open(struct crew *crew);
void merge_tables_close(struct crew *crew);
/* Part of a meeting, after the weights: called by every live worker. */
aios_status merge_tables(struct worker *w);

#endif
