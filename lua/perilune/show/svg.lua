--- SVG as text: the style that gives its classes their colours, numbers and texts as it wants them.

local format = require("perilune.base.format")

local svg = {}

--- Colours and type, as CSS for light and dark.
-- @type string
svg.style = [[
.pl{--ink:#1d2026;--soft:#646b78;--rule:#cfd3da;--grid:#eceef2;--s1:#2f6fde;--s2:#dd6426;
--s3:#16936b;--s4:#9450cc;--s5:#b98a06;--s6:#cf3a6a;font:12px system-ui,sans-serif;
display:block;width:100%;height:auto}
.pl text{fill:var(--soft)}.pl .title{fill:var(--ink);font-size:14px;font-weight:600}
.pl .name{fill:var(--ink)}.pl .end{text-anchor:end}.pl .mid{text-anchor:middle}
.pl .grid{stroke:var(--grid)}.pl .axis{stroke:var(--rule)}
.pl .mark{stroke:var(--soft);stroke-dasharray:4 4;fill:none}
.pl .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.pl .faint{stroke-width:1;opacity:.4}.pl .dash{stroke-dasharray:6 5}
.pl .span{stroke-width:8;stroke-linecap:round;opacity:.28}
.pl .whisker{stroke-width:1.5}.pl .band{stroke:none;opacity:.16}
.pl .c1{stroke:var(--s1)}.pl .c2{stroke:var(--s2)}.pl .c3{stroke:var(--s3)}
.pl .c4{stroke:var(--s4)}.pl .c5{stroke:var(--s5)}.pl .c6{stroke:var(--s6)}
.pl .f1{fill:var(--s1)}.pl .f2{fill:var(--s2)}.pl .f3{fill:var(--s3)}
.pl .f4{fill:var(--s4)}.pl .f5{fill:var(--s5)}.pl .f6{fill:var(--s6)}
@media(prefers-color-scheme:dark){.pl{--ink:#e8eaee;--soft:#9aa2b0;--rule:#3b414c;--grid:#262b33;
--s1:#74a5ff;--s2:#ff9658;--s3:#4fcaa1;--s4:#c690f3;--s5:#e2b840;--s6:#ff7da3}}
]]

--- Text that is safe inside markup: no markup, no control characters, valid UTF-8.
-- @tparam any text or a number, written with tostring
-- @treturn string
function svg.escape(text)
  text = format.utf8(tostring(text)):gsub("[%z\1-\8\11\12\14-\31\127]", "\u{FFFD}")
  return (
    text:gsub("[&<>\"']", {
      ["&"] = "&amp;",
      ["<"] = "&lt;",
      [">"] = "&gt;",
      ['"'] = "&quot;",
      ["'"] = "&#39;",
    })
  )
end

--- A length in pixels, to a tenth.
-- @tparam number x
-- @treturn string
function svg.px(x)
  local text = ("%.1f"):format(x):gsub("%.0$", "")
  return text == "-0" and "0" or text
end

--- The beginning of a drawing.
-- @tparam function out takes a line of text
-- @tparam table options of a chart: `title`, `standalone`
-- @tparam number width pixels
-- @tparam number height pixels
function svg.open(out, options, width, height)
  local label = options.title or "chart"
  out(
    ('<svg class="pl" viewBox="0 0 %d %d" role="img" aria-label="%s"%s>'):format(
      width,
      height,
      svg.escape(label),
      options.standalone
          and (' xmlns="http://www.w3.org/2000/svg" width="%d" height="%d"'):format(width, height)
        or ""
    )
  )
  if options.standalone then out("<style>" .. svg.style .. "</style>") end
end

--- Lines of text that become one.
-- @treturn function adds a line
-- @treturn function gives all lines
function svg.writer()
  local parts = {}
  local function add(text) parts[#parts + 1] = text end
  local function all() return table.concat(parts, "\n") end
  return add, all
end

return svg
