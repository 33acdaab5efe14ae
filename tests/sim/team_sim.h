/* team_sim.h: the kernels in their GPU form on the CPU: whole teams, real barriers, poisoned local memory.
 *
 * A lane is a coroutine; a barrier hands over to the next lane, in rising and falling order by turns, so that a missing
 * barrier shows as a wrong number.  Built with the thread sanitizer, a lane is a thread
 * instead: it then sees what two lanes do to one address without a barrier between. */
#ifndef TEAM_SIM_H
#define TEAM_SIM_H

#include <stdint.h>

#define TEAM_SIM_SIZE        64          /* lanes of a team */
#define TEAM_SIM_LOCAL_BYTES (48 * 1024) /* what every GPU has at least */

/* One lane of one team; arguments as aios_stream_launch takes them. */
typedef void (*team_sim_fn)(int32_t team, int32_t teams, const void *const *arguments);

/* Every kernel, by kernel_index(). */
extern const team_sim_fn team_sim_kernels[];

/* Runs all teams, one after the other, and returns NULL, or what the kernel did wrong: lanes that met different barriers, more
 * local memory than there is.  Any thread may call. */
const char *team_sim_run(team_sim_fn kernel, uint32_t teams, const void *const *arguments);
const char *team_sim_launch(uint32_t kernel, uint32_t teams, const void *const *arguments);

/* Frees what the calling thread keeps for its next launch. */
void team_sim_end(void);

#endif
