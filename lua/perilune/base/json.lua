--- JSON, over json-c.
--
-- A null member of a plain object is nil when read; a null in an array is `json.null`, so that the
-- length stays. A whole text of `null` is `json.null`. Integers beyond 64 bits become floats.

--- The value of a text.
-- @tparam string text of one value
-- @tparam ?table opts `ordered` (false) keeps the order of keys and the null members of objects,
--   for editing a file and writing it back; `strict` (false) is for other people's data: UTF-8 is
--   checked, and duplicate keys, NaN, lone surrogates and control characters are refused; `depth`
--   (128) bounds the nesting
-- @treturn any nil when the text is malformed
-- @treturn ?string message with line and column
-- @name json.decode

--- A value as text; raises with the value's path when it cannot be written. Keys are sorted unless
-- the object is ordered, so equal values give equal texts.
-- @tparam any value of texts, numbers, booleans, `json.null` and tables of these
-- @tparam ?table opts `pretty` (false) indents; `strict` (false) refuses text that is not UTF-8,
--   otherwise each bad byte becomes U+FFFD; `finite` (false) writes NaN and the infinities as the
--   texts "NaN", "Infinity" and "-Infinity", otherwise as bare words, which are not JSON and which
--   many readers refuse; `depth` (128) levels of tables at most
-- @treturn string
-- @name json.encode

--- Marks a table as an array, even when it is empty.
-- @tparam ?{any,...} list of values (default: a new list)
-- @treturn {any,...} the list
-- @name json.array

--- An object that remembers the order of its keys.
-- @treturn {[string]=any} empty; its keys are written in the order they are set
-- @name json.object

--- Null.
-- @type userdata
-- @name json.null

return require("perilune.core").json
