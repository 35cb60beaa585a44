--- Lists: the few moves that loops over token ids, rows and names need over and over.

local list = {}

--- Appends the elements of `more` to `into`.
-- @tparam table into
-- @tparam table more
-- @treturn table `into`
function list.append(into, more) return table.move(more, 1, #more, #into + 1, into) end

--- A new list of the elements of `a`, then those of `b`.
-- @tparam table a
-- @tparam table b
-- @treturn table
function list.concat(a, b) return list.append(table.move(a, 1, #a, 1, {}), b) end

--- A new list of the elements `from` to `to`.
-- @tparam table items
-- @tparam ?integer from (default: 1)
-- @tparam ?integer to (default: #items)
-- @treturn table
function list.slice(items, from, to) return table.move(items, from or 1, to or #items, 1, {}) end

--- A new list of the elements at `places`.
-- @tparam {any,...} items of any kind
-- @tparam {integer,...} places of the elements wanted, from 1; one may stand there more than once
-- @treturn {any,...} as long as `places`
function list.take(items, places)
  local taken = {}
  for i, place in ipairs(places) do
    taken[i] = items[place]
  end
  return taken
end

--- The keys of a table, sorted, so that they come in the same order each time.
-- @tparam table map whose keys are all texts, or all numbers
-- @treturn {any,...}
function list.keys(map)
  local names = {}
  for name in pairs(map) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

return list
