/* bodies.h: every kernel for the current T.  Included once per T. */
#include "declare.h"
#include "tile.h"

#include "elementwise.kc"

#include "activation.kc"
#include "attention.kc"
#include "embedding.kc"
#include "experts.kc"
#include "gemm.kc"
#include "loss.kc"
#include "halting.kc"
#include "norm.kc"
#include "optimizer.kc"
#include "reduce.kc"
#include "rope.kc"
