--- Nearest known name: what the user probably meant.

local nearest = {}

--- The known name nearest to `name`, or nil when none is near.
-- Near is one edit (a letter more, less, another or two swapped) for names up to five letters, and
-- one edit in three letters above that; a name that continues `name` (as "kl_coef" does "kl") is
-- near too. Ties go to the name that comes first in the alphabet.
-- @tparam string name
-- @tparam {string,...} known
-- @treturn ?string
nearest.find = require("perilune.core").nearest

--- The end of an error sentence: "; did you mean 'learning_rate'?", or "" when nothing is near.
-- @tparam string name
-- @tparam {string,...} known
-- @treturn string
function nearest.hint(name, known)
  local found = nearest.find(name, known)
  return found and ("; did you mean '%s'?"):format(found) or ""
end

return nearest
