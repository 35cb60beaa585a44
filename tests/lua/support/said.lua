--- What a function writes to standard error.

--- Calls fn(...) with io.stderr replaced.
-- @tparam function fn
-- @tparam any ...
-- @treturn string what was written, in one piece
-- @treturn any ... what pcall gives
return function(fn, ...)
  local stderr, pieces = io.stderr, {}
  io.stderr = { -- luacheck: ignore
    write = function(_, ...)
      for _, text in ipairs { ... } do
        pieces[#pieces + 1] = text
      end
    end,
    flush = function() end,
  }
  local results = table.pack(pcall(fn, ...))
  io.stderr = stderr -- luacheck: ignore
  return table.concat(pieces), table.unpack(results, 1, results.n)
end
