--- The words of a text as a set: how the lists of this folder are written down.
-- @tparam string text words between white space
-- @treturn {[string]=true}
return function(text)
  local list = {}
  for word in text:gmatch("%S+") do
    list[word] = true
  end
  return list
end
