--- What the functions of Lua's own library do, in a sentence each, for `?string.rep`. The manual of
-- Lua 5.4, section 6, has all of it.

local rows = [[
assert(v, [message]) | v and all that follows; raises the message when v is nil or false
collectgarbage([what, ...]) | works the collector: "collect", "count" (KB), "step", "stop",
  "restart", "incremental", "generational", "isrunning"
dofile([path]) | runs a file (standard input without one) and returns what it returns
error(message, [level]) | raises an error; level 1 names the place of the call, 2 that of its
  caller, 0 none
getmetatable(v) | its metatable, or that one's __metatable
ipairs(list) | for the loop over i, list[i] from 1 until the first nil
load(chunk, [name, mode, env]) | compiles a text, or pieces that a function gives, to a function;
  nil and a message when it is no Lua
loadfile([path, mode, env]) | compiles a file to a function
next(t, [key]) | the key after that one and its value; nil at the end
pairs(t) | for the loop over all keys and values, in no order
pcall(f, ...) | calls f: true and its results, or false and the error
print(...) | the values as text, with tabs between them, to standard output
rawequal(a, b) | a == b without metamethods
rawget(t, key) | t[key] without metamethods
rawlen(v) | #v without metamethods
rawset(t, key, value) | t[key] = value without metamethods; returns t
require(name) | loads a module once; its value and where it was found
select(n, ...) | the arguments from the n-th on, from the end when negative; "#" counts them
setmetatable(t, meta) | gives a table a metatable; returns t
tonumber(v, [base]) | a number of a text, or nil; with a base (2 to 36) an integer
tostring(v) | its text, by __tostring where there is one
type(v) | "nil", "number", "string", "boolean", "table", "function", "thread" or "userdata"
warn(...) | a warning of these pieces, shown after warn("@on")
xpcall(f, handler, ...) | as pcall; the handler gets the error while the stack stands
== coroutine
close(co) | ends a suspended coroutine and closes its variables
create(f) | a coroutine that will run f
isyieldable([co]) | whether it may yield
resume(co, ...) | goes on with it: true and what it yields or returns, or false and the
  error
running() | the one that runs, and whether it is the main one
status(co) | "running", "suspended", "normal" or "dead"
wrap(f) | a function that resumes a new coroutine at each call; errors are raised
yield(...) | suspends; the values are what resume gives
== debug
getinfo([co], f, [what]) | of a function or a level of the stack: source, lines, name
getlocal([co], level, i) | name and value of the i-th local variable
getupvalue(f, i) | name and value of the i-th upvalue
sethook([co], hook, mask, [count]) | calls hook at calls "c", returns "r", lines "l" or
  every count instructions
traceback([co], [message, level]) | the stack as text
== io
close([file]) | closes it, or the default output
flush() | writes out what the default output still holds
input([file]) | the default input, or sets it
lines([path, ...]) | for the loop over a file's lines; formats as of file:read
open(path, [mode]) | a file, or nil and a message; modes "r", "w", "a", "r+", "w+", "a+", with
  "b"
output([file]) | the default output, or sets it
popen(command, [mode]) | a file to or from a shell command
read(...) | from the default input: "l" a line, "L" with its end, "n" a number, "a" all, or a
  number of bytes
tmpfile() | a file that is removed when it is closed
type(v) | "file", "closed file", or nil for what is none
write(...) | texts and numbers to the default output
== math
abs(x) | without its sign
acos(x) | in radians
asin(x) | in radians
atan(y, [x]) | the angle of y/x, in radians
ceil(x) | the integer at or above
cos(x) | of radians
deg(x) | radians as degrees
exp(x) | e to the power x
floor(x) | the integer at or below
fmod(x, y) | the rest of a division that rounds towards zero
log(x, [base]) | to the base e without one
max(x, ...) | the largest
min(x, ...) | the smallest
modf(x) | integral and fractional part
rad(x) | degrees as radians
random([m, n]) | a float in [0, 1), or an integer in 1 to m, or m to n
randomseed([x, y]) | begins the numbers of math.random anew
sin(x) | of radians
sqrt(x) | the square root
tan(x) | of radians
tointeger(x) | as an integer, or nil when it is none
type(x) | "integer", "float", or nil
cosh(x) | the hyperbolic cosine
frexp(x) | m and e with x = m 2^e and 0.5 <= |m| < 1
ldexp(m, e) | m 2^e
log10(x) | to the base 10
pow(x, y) | x to the power y
sinh(x) | the hyperbolic sine
tanh(x) | the hyperbolic tangent
ult(m, n) | m < n as unsigned integers
== os
clock() | seconds of processor time this process has used
date([format, time]) | a time as text; "*t" gives a table, "!" before it UTC
difftime(b, a) | seconds from a to b
execute([command]) | runs a shell command: true or nil, "exit" or "signal", and its number
exit([code, close]) | ends the program
getenv(name) | a variable of the environment, or nil
remove(path) | removes a file or an empty folder
rename(from, to) | renames a file or a folder
setlocale([locale, category]) | the locale, or sets it
time([t]) | seconds since 1970 of now, or of a table of year, month, day, hour, min, sec
tmpname() | a name for a file that is not there yet
== package
searchpath(name, path) | the file that require would take from a path, or nil and what was
  tried
== string
byte(s, [i, j]) | the numbers of its bytes i to j
char(...) | the bytes of these numbers
dump(f, [strip]) | a function as binary text
find(s, pattern, [from, plain]) | first and last place of the first match and its captures,
  or nil
format(format, ...) | values in a text, as C's printf; %q writes what Lua can read
gmatch(s, pattern, [from]) | for the loop over all matches
gsub(s, pattern, by, [most]) | s with matches replaced by a text, a table's values or a
  function's results; and their number
len(s) | its length in bytes
lower(s) | with small letters
match(s, pattern, [from]) | the captures of the first match, or all of it, or nil
pack(format, ...) | values as bytes
packsize(format) | how many bytes they take
rep(s, n, [between]) | n copies, with a text between them
reverse(s) | its bytes from the last to the first
sub(s, i, [j]) | the bytes i to j; negative places count from the end
unpack(format, s, [from]) | the values that pack wrote, and the place after them
upper(s) | with capital letters
== table
concat(list, [between, i, j]) | texts and numbers of a list as one text
insert(list, [at], value) | puts a value at a place, at the end without one; later ones move
  up
move(a, from, to, at, [b]) | copies a[from] to a[to] to a[at] (b[at]) and on; returns where
  they went
pack(...) | a list of the arguments, and their number as n
remove(list, [at]) | takes out the value at a place (the last) and returns it; later ones
  move down
sort(list, [less]) | sorts in place, by < or by a function less(a, b)
unpack(list, [i, j]) | its elements as values
== utf8
char(...) | the characters of these code points
codepoint(s, [i, j, lax]) | the code points of the characters that begin at bytes i to j
codes(s, [lax]) | for the loop over place and code point
len(s, [i, j, lax]) | how many characters; nil and a place when it is not UTF-8
offset(s, n, [i]) | the byte at which the n-th character begins
]]

local library = {}

--- The functions by name: {["string.rep"] = {call, summary}}.
-- @type table
library.functions = {}

local prefix = ""
for line in rows:gsub("\n  ", " "):gmatch("[^\n]+") do
  local call, summary = line:match("^(.-) | (.*)$")
  if call then
    local name = prefix .. call:match("^[%w_]+")
    library.functions[name] = { call = prefix .. call, summary = summary }
  else
    prefix = line:match("%w+$") .. "."
  end
end

--- The name of a function of Lua's library, as it is found in the global tables now.
-- @tparam function func
-- @treturn ?string
function library.name_of(func)
  for name in pairs(library.functions) do
    local value = _G
    for part in name:gmatch("[^.]+") do
      value = type(value) == "table" and rawget(value, part)
    end
    if value == func then return name end
  end
end

return library
