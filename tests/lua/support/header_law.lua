--- The law of the engine's header: something is said of every function, by a comment right above it
-- or behind it, or by one at the head of its paragraph that names it: `free` of pl_x_free.

--- The functions that nothing is said of.
-- @tparam string text a header
-- @treturn {string,...} "line: name"
-- @treturn integer how many functions there are
return function(text)
  local lines, silent, count = {}, {}, 0
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do
    lines[#lines + 1] = line
  end
  local i, paragraph, is_above = 1, "", false
  -- The lines from `i` on to the one that has `mark`; `i` is that line then.
  local function through(mark)
    local taken = lines[i]
    while not lines[i]:find(mark, 1, true) do
      i = i + 1
      taken = taken .. "\n" .. lines[i]
    end
    return taken
  end
  while lines[i] do
    local line = lines[i]
    local name = line:match("^%a.-%f[%w_](pl_[%w_]+)%(")
    if line == "" then
      paragraph, is_above = "", false
    elseif line:find("^/%*") then
      paragraph, is_above = paragraph .. through("*/"), true
    elseif name and not line:find("^typedef") and not line:find("^static") then
      local from, behind = i, through(";"):find("/*", 1, true)
      local is_named = paragraph:find("`" .. name:match("%w+$") .. "`", 1, true)
      count = count + 1
      if not (is_above or behind or is_named) then
        silent[#silent + 1] = ("%d: %s"):format(from, name)
      end
      is_above = false
    end
    i = i + 1
  end
  return silent, count
end
