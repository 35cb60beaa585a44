--- Files that hold other files, tables or a database, told by their first bytes: they have no lines
-- of text, however many newlines are among their bytes. One that is packed but not compressed (a
-- zip, a tar) would give most of its rows, and lose the others as if its lines were broken. Text
-- in UTF-32 is none that is read, nor UTF-16 that no mark tells or that is compressed.

local core = require("perilune.core")
local lfs = require("lfs")

local container = {}

local HEAD <const> = 512 -- bytes: a header of tar
local TAR <const> = { 258, "ustar" } -- where its mark is

local TABLE <const> = "write it as JSON Lines, as pandas does: "
local of_pandas = TABLE .. '%s("FILE").to_json("FILE.jsonl", orient="records", lines=True)'

local marks = {
  { "\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it, as in zstd -d FILE" },
  { "\xfd7zXZ\0", "compressed by xz", "unpack it, as in xz -dk FILE" },
  { "BZh", "compressed by bzip2", "unpack it, as in bzip2 -dk FILE", "^BZh%d1AY&SY" },
  { "PK\3\4", "a zip archive or a spreadsheet", "unpack it, or save the table as CSV" },
  { "PK\5\6", "an empty zip archive", "look where its files are" },
  { "7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it" },
  { "PAR1", "a Parquet table", of_pandas:format("pandas.read_parquet"), "^PAR1[^\n\r\32-\255]" },
  { "ARROW1\0\0", "an Arrow table", of_pandas:format("pandas.read_feather") },
  { "\xff\xff\xff\xff", "an Arrow stream", TABLE .. "datasets.Dataset.to_json does it" },
  {
    "SQLite format 3\0",
    "an SQLite database",
    "a part of a store is FILE#sft.train or FILE#rm.valid; write another's tables as CSV",
  },
  { "GGUF", "a model", "give it as the model, and rows of text here", "^GGUF[\1-\9]\0" },
  {
    "%PDF-",
    "a PDF document",
    "take its text out, as in pdftotext FILE",
    "^%%PDF%-%d%.%d[ \t]*[\r\n]",
  },
}

local function told(head)
  for _, mark in ipairs(marks) do
    if head:sub(1, #mark[1]) == mark[1] and (not mark[4] or head:find(mark[4])) then
      return mark[2], mark[3]
    end
  end
  if head:sub(TAR[1], TAR[1] + #TAR[2] - 1) == TAR[2] then
    return "a tar archive", "unpack it, as in tar -xf FILE"
  end
end

-- Which encoding of wide characters the bytes are in that no reader would take for one, or nil.
local function wide(head, is_packed)
  if head:sub(1, 4) == "\xff\xfe\0\0" or head:sub(1, 4) == "\0\0\xfe\xff" then return "UTF-32" end
  local mark = head:sub(1, 2)
  if mark == "\xff\xfe" or mark == "\xfe\xff" then return is_packed and "UTF-16" or nil end
  local zeros = { 0, 0 } -- at odd and even places
  for at in head:gmatch("()%z") do
    zeros[2 - at % 2] = zeros[2 - at % 2] + 1
  end
  for place = 1, 2 do
    local most = #head >= 8 and 2 * zeros[place] > 0.8 * #head and zeros[3 - place] == 0
    if most then return place == 1 and "UTF-16BE" or "UTF-16LE" end
  end
end

-- The first bytes, unpacked when the file is gzip, and whether it is.
local function head_of(path)
  if lfs.attributes(path, "mode") ~= "file" then return "", false end -- a pipe waits
  local file = io.open(path, "rb")
  local head = file and file:read(HEAD) or ""
  if file then file:close() end
  if head:sub(1, 2) ~= "\x1f\x8b" then return head, false end
  local reader <close> = core.lines.open(path)
  return reader and reader:next() or "", true
end

--- What is to be done with a file that has no lines of its own, or none that would be read right.
-- @tparam string path
-- @treturn ?string a sentence; nil when it may be text
function container.fault(path)
  local head, is_packed = head_of(path)
  local name = wide(head, is_packed)
  if name then
    local text = "%s is text in %s%s: convert it to UTF-8, as in %siconv -f %s -t UTF-8"
    local place = is_packed and " and gzip" or name ~= "UTF-32" and " without its mark" or ""
    return text:format(path, name, place, is_packed and "gunzip and " or "", name)
  end
  local what, cure = told(head)
  if not what then return nil end
  return ("%s is %s, not text: %s"):format(
    path,
    what,
    (cure:gsub("FILE", (path:gsub("%%", "%%%%"))))
  )
end

return container
