--- The text a rule looks at.

--- The prompt, or the user's turns of a conversation, a line each.
-- @tparam table row
-- @treturn string
return function(row)
  if row.prompt then return row.prompt end
  local turns, n = {}, 0
  for _, message in ipairs(row.messages or {}) do
    if message.role == "user" then
      n = n + 1
      turns[n] = message.content
    end
  end
  return table.concat(turns, "\n")
end
