--- Nearest known name: what the user probably meant.
--
-- Distance is optimal string alignment (Damerau 1964, Levenshtein 1966): the fewest single-letter
-- insertions, deletions, substitutions and swaps of neighbours that turn one name into the other.
-- A name is offered only when it is near enough to be a likely slip; a wild guess helps nobody.
--
-- Deliberately not here: ranking by frequency or meaning. Names that mean the same but look
-- different ("eps_clip", "cliprange") are aliases, and those live in `perilune.config.common`.

local nearest = {}

--- Optimal string alignment distance between two names, in bytes.
-- @tparam string a
-- @tparam string b
-- @treturn integer number of edits
function nearest.distance(a, b)
  local before, previous = nil, {}
  for j = 0, #b do
    previous[j] = j
  end
  for i = 1, #a do
    local current = { [0] = i }
    local ai = a:byte(i)
    for j = 1, #b do
      local bj = b:byte(j)
      local cost = ai == bj and 0 or 1
      local best = math.min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + cost)
      if i > 1 and j > 1 and ai == b:byte(j - 1) and a:byte(i - 1) == bj then
        best = math.min(best, before[j - 2] + 1)
      end
      current[j] = best
    end
    before, previous = previous, current
  end
  return previous[#b]
end

--- The known name nearest to `name`, or nil when none is near.
-- Near is one edit for names up to four letters, and one edit in three letters above that; a name
-- that continues `name` (as "kl_coef" does "kl") counts as near too. Ties go to the name that
-- comes first in the alphabet, so that the answer does not depend on the order of a hash.
-- @tparam string name
-- @tparam {string,...} known
-- @treturn ?string
function nearest.find(name, known)
  local lower = name:lower()
  local best, best_distance
  for _, candidate in ipairs(known) do
    local distance = nearest.distance(lower, candidate:lower())
    local closer = not best or distance < best_distance
    if closer or (distance == best_distance and candidate < best) then
      best, best_distance = candidate, distance
    end
  end
  if best and best_distance <= math.max(1, #name // 3) then
    return best
  end
  local continued
  for _, candidate in ipairs(known) do
    if #lower >= 2 and candidate:lower():sub(1, #lower) == lower then
      if not continued or candidate < continued then
        continued = candidate
      end
    end
  end
  return continued
end

--- The end of an error sentence: "; did you mean 'learning_rate'?", or "" when nothing is near.
-- @tparam string name
-- @tparam {string,...} known
-- @treturn string
function nearest.hint(name, known)
  local found = nearest.find(name, known)
  return found and ("; did you mean '%s'?"):format(found) or ""
end

return nearest
