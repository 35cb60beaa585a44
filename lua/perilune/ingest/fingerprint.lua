--- What a file holds, in 32 digits, so that it is known again: whole, and as the beginning of a
-- longer one.
--
-- The file is hashed in pieces of 1 MB, each with what came before it: h = XXH3-128(h .. XXH3-128(
-- piece)). The hash of the first n bytes of a file is then the hash of a file of these n bytes,
-- whatever follows.

local files = require("perilune.core").files
local lfs = require("lfs")

local PIECE <const> = 1 << 20

--- Hash of the first `bytes` bytes of a file (all of them when nil).
-- @treturn ?string 32 digits
-- @treturn integer|string bytes hashed; or a message
return function(path, bytes)
  local mode = lfs.attributes(path, "mode")
  if mode and mode ~= "file" then -- a pipe would be waited for
    return nil, ("'%s' is no regular file but a %s"):format(path, mode)
  end
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  file:setvbuf("no")
  local hash, done = "", 0
  local left = bytes or math.maxinteger
  while left > 0 do
    local piece
    piece, message = file:read(math.min(left, PIECE))
    if not piece then break end
    hash = files.hash_string(hash .. files.hash_string(piece))
    done, left = done + #piece, left - #piece
  end
  file:close()
  if message then
    return nil, message
  elseif bytes and done < bytes then
    return nil, ("'%s' holds %d bytes, fewer than the %d asked for"):format(path, done, bytes)
  end
  return hash, done
end
