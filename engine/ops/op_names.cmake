# op_names.cmake - the places in each row of ops.def by name: makes op_names.h while configuring.
#
#   OP(ppo_loss, "logprob old_logprob ...", "cliprange:f=0.2 ...", "loss stats", ...)
# gives PPO_LOSS_logprob = 0, PPO_LOSS_old_logprob = 1 (inputs), PPO_LOSS_cliprange = 0 (parameters)
# and PPO_LOSS_loss = 0, PPO_LOSS_stats = 1 (outputs). The choices of an enumeration come as
# RANK_LOSS_variant_logsigmoid = 0, ... A name that stands twice in a row does not compile.
set(PL_OPS_DEF ${CMAKE_SOURCE_DIR}/engine/ops/ops.def)
set(PL_OP_NAMES_DIR ${CMAKE_BINARY_DIR}/generated)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PL_OPS_DEF})

# Appends `prefix_word = place` to `lines` for each of the words.
macro(pl_name_places lines prefix words)
  set(place 0)
  string(REPLACE " " ";" list "${words}")
  foreach(word IN LISTS list)
    string(REGEX MATCH "^[A-Za-z0-9_]+" name "${word}")
    string(APPEND ${lines} "    ${prefix}_${name} = ${place},\n")
    math(EXPR place "${place} + 1")
  endforeach()
endmacro()

file(READ ${PL_OPS_DEF} text)
string(REGEX MATCHALL "\nOP\\([a-z0-9_]+, \"[^\"]*\", \"[^\"]*\", \"[^\"]*\"" rows "${text}")
list(LENGTH rows PL_OP_ROWS)
set(PL_OP_PLACES "")
foreach(row IN LISTS rows)
  string(REGEX MATCHALL "\"[^\"]*\"" columns "${row}")
  string(REGEX MATCH "[a-z0-9_]+" op "${row}")
  string(TOUPPER ${op} op)
  string(REPLACE "\"" "" columns "${columns}")
  foreach(words IN LISTS columns)
    pl_name_places(PL_OP_PLACES ${op} "${words}")
  endforeach()
  string(REGEX MATCHALL "[a-z0-9_]+:e\\([^)]*\\)" enumerations "${row}")
  foreach(enumeration IN LISTS enumerations)
    string(REGEX MATCH "^([a-z0-9_]+):e\\((.*)\\)" all "${enumeration}")
    set(param ${CMAKE_MATCH_1})
    string(REPLACE "|" " " choices "${CMAKE_MATCH_2}")
    pl_name_places(PL_OP_PLACES ${op}_${param} "${choices}")
  endforeach()
endforeach()

file(CONFIGURE OUTPUT ${PL_OP_NAMES_DIR}/op_names.h @ONLY CONTENT
[[/* Made from engine/ops/ops.def by engine/ops/op_names.cmake; do not edit. */
#ifndef PL_OP_NAMES_H
#define PL_OP_NAMES_H

#include "perilune.h"

enum {
@PL_OP_PLACES@};
_Static_assert(PL_OP_COUNT == @PL_OP_ROWS@, "op_names.cmake cannot read a row of ops.def");

#endif
]])
