/* cpu.h (internal): the built-in backend.
 *
 * AIOS_CPU_DEVICES=n splits the processors that this process may use into n devices (1 where unset); AIOS_CPU_THREADS=n
 * replaces the number of threads that they have in all.  A device owns a crew of threads; every call is done when it
 * returns.  AIOS_CPU_ARCHITECTURE=baseline, avx2 or avx512 asks for less than the processor has. */
#ifndef AIOS_CPU_CPU_H
#define AIOS_CPU_CPU_H

#include <aios/backend.h>

extern const aios_backend cpu_backend;

#endif
