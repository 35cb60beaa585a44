--- JSON, over json-c.
--
-- `json.decode(text, opts)` gives a value, or nil and a message with line and column.
-- Options: `ordered` keeps the order of keys and the null members of objects (for editing a file
-- and writing it back); `strict` is for other people's data: UTF-8 is checked, and duplicate
-- keys, NaN, lone surrogates and control characters are refused; `depth` bounds the nesting (128).
--
-- `json.encode(value, opts)` gives a text or raises an error that names the value's path.
-- Keys are sorted unless the object is ordered, so equal values give equal texts. Options:
-- `pretty`; `strict` refuses text that is not UTF-8 (otherwise each bad byte becomes U+FFFD);
-- `finite` writes NaN and the infinities as the texts "NaN", "Infinity" and "-Infinity" (otherwise
-- as bare words, which are not JSON and which many readers refuse); `depth`.
--
-- `json.array(t)` marks a table as an array even when empty, `json.object()` makes an object that
-- remembers the order of its keys, `json.null` is null. A null member of a plain object is nil
-- when read; a null in an array is `json.null`, so that the length stays. A whole text of `null`
-- is `json.null`. Integers beyond 64 bits become floats.

return require("perilune.core").json
