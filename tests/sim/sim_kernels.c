/* Every kernel as C11 in its GPU form. */
#include "team_sim.h"

#define AIOS_SIM  1
#define TEAM_SIZE TEAM_SIM_SIZE
#include "kernels/all.kc"

#include "kernels/call.h"

#define KERNEL_DEF(name, ...) CALL_ROWS_(name)
const team_sim_fn team_sim_kernels[] = {
#include "kernels/kernels.def"
};
#undef KERNEL_DEF

const char *team_sim_launch(uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    return team_sim_run(team_sim_kernels[kernel], teams, arguments);
}
