--- A report as one HTML file that holds everything it shows.
--
--     local r = report.new { title = "Demo", subtitle = "base, SFT, PPO on an invented world" }
--     r:tiles { { "PPO over SFT", "+0.18", "± 0.03, 512 prompts" } }
--     r:heading("Training"):charts { plot.chart {...}, plot.chart {...} }
--     r:table { head = { "model", "score" }, rows = { { "base", 0.12 } } }
--     r:answers { models = { "SFT", "PPO" }, rows = { { prompt = "...", answers = {...} } } }
--     r:write("runs/demo/report.html")
--
-- Text is escaped, SVG from `pl.plot` is put in as it is. There is no script and no
-- outside resource; the page follows the reader's light or dark setting and prints well.

local checked = require("perilune.base.options")
local files = require("perilune.base.files")
local format = require("perilune.base.format")
local plot = require("perilune.show.plot")

local report = {}

--- A report that is being written.
-- @class Report
local Report = {}
Report.__index = Report
Report.__name = "report"

local escape = plot.escape

local style = [[
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--text:#1d2026;--quiet:#646b78;
--line:#e2e5ea;--good:#16936b;--bad:#c43d3d;--warn:#a36b00;--warnbg:#fff6e0;--head:#fafbfc}
@media(prefers-color-scheme:dark){:root{--page:#121418;--card:#1a1d23;--text:#e8eaee;
--quiet:#9aa2b0;--line:#2c313a;--good:#4fcaa1;--bad:#ff8585;--warn:#f0c05a;--warnbg:#2b2414;
--head:#1f232a}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1080px;margin:0 auto;padding:40px 24px 64px}
h1{font-size:30px;line-height:1.2;letter-spacing:-.02em;margin:0 0 6px}
h2{font-size:19px;letter-spacing:-.01em;margin:44px 0 14px}
.sub{color:var(--quiet);margin:0 0 28px}p{margin:0 0 14px;max-width:72ch}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px;
margin:0 0 16px;break-inside:avoid}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:16px;
margin:0 0 16px}.grid>.card{margin:0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:16px;
margin:0 0 16px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 18px}
.tile b{display:block;font-size:26px;line-height:1.25;letter-spacing:-.02em;font-weight:650;
font-variant-numeric:tabular-nums}
.tile span{display:block;color:var(--quiet);font-size:13px}
.scroll{overflow-x:auto}.scroll>.pl{min-width:560px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th{font-weight:600;color:var(--quiet);font-size:13px}
th,td{text-align:left;padding:8px 18px 8px 0;border-bottom:1px solid var(--line);
vertical-align:top}
th,td{min-width:4.5em}td{overflow-wrap:break-word}
th:first-child,td:first-child{min-width:9em}.num,.figure{white-space:nowrap}
th:last-child,td:last-child{padding-right:0}
tr:last-child td{border-bottom:0}.num{text-align:right}
tr.best td{font-weight:650}
.note{color:var(--quiet);font-size:13px;margin:10px 0 0}
.alarm{border-color:var(--warn);background:var(--warnbg)}
.prompt{font-weight:600;white-space:pre-wrap;overflow-wrap:anywhere;margin:0 0 12px}
.answers{display:grid;gap:12px;
grid-template-columns:repeat(auto-fit,minmax(min(220px,100%),1fr))}
.answer{border-left:3px solid var(--line);padding:2px 0 2px 12px;min-width:0}
.answer.top{border-left-color:var(--good)}
.who{display:flex;gap:10px;color:var(--quiet);font-size:13px}
.who b{font-weight:600}.who i{font-style:normal;font-variant-numeric:tabular-nums}
.answer div{white-space:pre-wrap;overflow-wrap:anywhere}
.empty{color:var(--quiet);font-style:italic}
footer{color:var(--quiet);font-size:13px;margin-top:44px}
@media print{body{background:#fff}.card,.tile{border-color:#ccc}}
]]

--- Begin a report. Raises without a title.
-- @tparam table options `title` (required); `subtitle` and `footer` (none)
-- @treturn Report
function report.new(options)
  options = checked.take("report.new", options, checked.any_of { "title", "subtitle", "footer" })
  if type(options.title) ~= "string" then error("report.new needs a title", 2) end
  return setmetatable(
    { title = options.title, subtitle = options.subtitle, footer = options.footer, parts = {} },
    Report
  )
end

local function add(self, ...)
  local parts = self.parts
  parts[#parts + 1] = table.concat { ... }
  return self
end

--- Markup of this room, put in as it is: texts in it must have gone through `plot.escape`.
-- @tparam string ... markup
-- @treturn Report itself
function Report:raw(...) return add(self, ...) end

--- A heading.
-- @tparam string text of one line; markup in it is escaped
-- @treturn Report itself
function Report:heading(text) return add(self, "<h2>", escape(text), "</h2>") end

--- A paragraph.
-- @tparam string text of a paragraph; markup in it is escaped
-- @treturn Report itself
function Report:text(text) return add(self, "<p>", escape(text), "</p>") end

--- Figures that are to be seen first.
-- @tparam {{string,string|number,string},...} list label, value, and a note or nil
-- @treturn Report itself
function Report:tiles(list)
  local parts = { '<div class="tiles">' }
  for _, tile in ipairs(list) do
    local value = type(tile[2]) == "number" and format.number(tile[2]) or tile[2]
    parts[#parts + 1] = ('<div class="tile"><span>%s</span><b>%s</b>%s</div>'):format(
      escape(tile[1]),
      escape(value),
      tile[3] and "<span>" .. escape(tile[3]) .. "</span>" or ""
    )
  end
  parts[#parts + 1] = "</div>"
  return add(self, table.concat(parts))
end

--- Something to be warned of, such as the sentences of `pl.health`.
-- @tparam {string,...} sentences none: nothing is shown
-- @treturn Report itself
function Report:alarms(sentences)
  for _, sentence in ipairs(sentences) do
    add(self, '<div class="card alarm">', escape(sentence), "</div>")
  end
  return self
end

-- A number, or a few of them as an interval has: nothing to be broken into lines.
local function is_figure(text) return #text <= 24 and text:find("^[-+]?%d") ~= nil end

--- A table. Numbers of a column have the same decimals and stand flush right.
-- @tparam table options `rows` (required) lists of numbers or texts; `head` (none) list of titles;
--   `best` (none) number of the row to stress, from 1; `note` (none) a line below
-- @treturn Report itself
function Report:table(options)
  options = checked.take("report:table", options, checked.any_of { "head", "rows", "best", "note" })
  local texts, numeric = format.cells(options.rows)
  local parts = { '<div class="card"><div class="scroll"><table>' }
  local function cells(tag, row)
    for column = 1, #(options.head or row) do
      local text = row[column] or ""
      local class = numeric[column] and "num" or is_figure(text) and "figure"
      local opening = class and ('<%s class="%s">'):format(tag, class) or ("<%s>"):format(tag)
      parts[#parts + 1] = ("%s%s</%s>"):format(opening, escape(text), tag)
    end
  end
  if options.head then
    parts[#parts + 1] = "<thead><tr>"
    cells("th", options.head)
    parts[#parts + 1] = "</tr></thead>"
  end
  parts[#parts + 1] = "<tbody>"
  for i, row in ipairs(texts) do
    parts[#parts + 1] = i == options.best and '<tr class="best">' or "<tr>"
    cells("td", row)
    parts[#parts + 1] = "</tr>"
  end
  parts[#parts + 1] = "</tbody></table></div>"
  if options.note then parts[#parts + 1] = '<p class="note">' .. escape(options.note) .. "</p>" end
  parts[#parts + 1] = "</div>"
  return add(self, table.concat(parts))
end

--- A chart over the whole width: draw it with `width = 960`.
-- @tparam string svg of `pl.plot`
-- @tparam ?string note a line below
-- @treturn Report itself
function Report:chart(svg, note)
  return add(
    self,
    '<figure class="card scroll">',
    svg,
    note and '<figcaption class="note">' .. escape(note) .. "</figcaption>" or "",
    "</figure>"
  )
end

--- Charts side by side, as many as the window has room for.
-- @tparam {string,...} list SVG of `pl.plot`
-- @treturn Report itself
function Report:charts(list)
  local parts = { '<div class="grid">' }
  for _, svg in ipairs(list) do
    parts[#parts + 1] = '<figure class="card">' .. svg .. "</figure>"
  end
  parts[#parts + 1] = "</div>"
  return add(self, table.concat(parts, "\n"))
end

--- What several models answer to the same prompts, side by side; the best score is marked.
-- @tparam table options `models` (required) names; `rows` (required) list of {prompt =, answers =
--   {...}, scores = {...}}; an answer may be missing, scores may be
-- @treturn Report itself
function Report:answers(options)
  options = checked.take("report:answers", options, checked.any_of { "models", "rows" })
  for _, row in ipairs(options.rows) do
    local best, least -- nobody is best when all are equal
    for i in ipairs(options.models) do
      local score = row.scores and row.scores[i]
      if score and (not best or score > row.scores[best]) then best = i end
      least = score and math.min(score, least or score) or least
    end
    if best and row.scores[best] == least then best = nil end
    local parts = {
      '<div class="card"><div class="prompt">',
      escape(row.prompt),
      '</div><div class="answers">',
    }
    for i, model in ipairs(options.models) do
      local answer, score = row.answers[i], row.scores and row.scores[i]
      local body = (not answer or not answer:find("%S")) and '<div class="empty">no answer</div>'
        or "<div>" .. escape(answer) .. "</div>"
      local shown = score and "<i>" .. format.number(score, 3) .. "</i>" or ""
      parts[#parts + 1] = i == best and '<div class="answer top">' or '<div class="answer">'
      parts[#parts + 1] = ('<div class="who"><b>%s</b>%s</div>'):format(escape(model), shown)
      parts[#parts + 1] = body .. "</div>"
    end
    parts[#parts + 1] = "</div></div>"
    add(self, table.concat(parts))
  end
  return self
end

--- The page.
-- @tparam ?table options `style` ("") CSS to add; `policy` (none) a Content-Security-Policy, and
--   `nonce` (none) what names the style in it
-- @treturn string
function Report:html(options)
  options = checked.take("report:html", options, checked.any_of { "style", "nonce", "policy" })
  local nonce = options.nonce and (' nonce="%s"'):format(options.nonce) or ""
  local parts = {
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width,initial-scale=1">',
    options.policy and ('<meta http-equiv="Content-Security-Policy" content="%s">'):format(
      escape(options.policy)
    ) or "",
    "<title>" .. escape(self.title) .. "</title>",
    "<style"
      .. nonce
      .. ">"
      .. style
      .. plot.style
      .. "figure.card{margin:0 0 16px}.grid>figure.card{margin:0}"
      .. (options.style or "")
      .. "</style>",
    "</head><body><main>",
    "<h1>" .. escape(self.title) .. "</h1>",
    self.subtitle and '<p class="sub">' .. escape(self.subtitle) .. "</p>" or "",
  }
  table.move(self.parts, 1, #self.parts, #parts + 1, parts)
  if self.footer then parts[#parts + 1] = "<footer>" .. escape(self.footer) .. "</footer>" end
  parts[#parts + 1] = "</main></body></html>\n"
  return table.concat(parts, "\n")
end

--- Write the page to a file, whole or not at all. Raises when it cannot be written.
-- @tparam string path of the file
function Report:write(path)
  local ok, message = files.write_atomic(path, self:html())
  if not ok then error(("the report cannot be written: %s"):format(message), 0) end
end

return report
