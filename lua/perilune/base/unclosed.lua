--- What is open in this process and must be closed when the code that opened it ends in an error.
--
-- A run holds the lock of its folder. Who calls code that may fail half way, a REPL or a recipe
-- that runs others, marks the place first and releases what was added since when it did fail.

local unclosed = {}

local open = {}

--- Add something with a `close` method, or with `abandon` for when it did not end well.
-- @tparam any object
function unclosed.add(object) open[#open + 1] = object end

--- Take it away again: it was closed.
-- @tparam any object
function unclosed.remove(object)
  for i = #open, 1, -1 do
    if open[i] == object then table.remove(open, i) end
  end
end

--- What is open, the earliest first.
-- @treturn {any,...} a copy
function unclosed.list() return table.move(open, 1, #open, 1, {}) end

--- A place to release back to.
-- @treturn integer
function unclosed.mark() return #open end

--- Close all that was added since, the latest first.
-- @tparam integer mark
function unclosed.release(mark)
  for i = #open, mark + 1, -1 do
    local object = open[i]
    if object then
      local give_up = object.abandon or object.close
      give_up(object)
      unclosed.remove(object)
    end
  end
end

return unclosed
