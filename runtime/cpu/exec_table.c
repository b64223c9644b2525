/* The handlers of ptx_ops.def in the order of its rows, for the machine this file is compiled for. */
#include "exec.h"

#define OP(name, operands, handler, kind) EXEC_NAME(handler),
#ifdef APNN_CPU_V3
ExecFn *const exec_table_v3[] = {
#else
ExecFn *const exec_table_base[] = {
#endif
#include "ptx_ops.def"
};
