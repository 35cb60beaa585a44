--- Calls fn(...), which must fail: its message.
return function(fn, ...)
  local ok, message = pcall(fn, ...)
  if ok then error("it should have failed", 2) end
  return tostring(message)
end
