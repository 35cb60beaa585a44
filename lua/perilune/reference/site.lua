--- The documentation as static pages: README.md and docs/ by cmark-gfm, with a navigation, anchors
-- as on GitHub and an index for the search. Nothing is fetched: style and script are files of the
-- site, and without script all but the search works.

local core = require("perilune.core")
local files = require("perilune.base.files")
local json = require("perilune.base.json")
local lfs = require("lfs")
local links = require("perilune.reference.links")

local site = {}

local folder_of_assets = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") .. "/site_assets/"

-- The navigation: groups of files below docs/, or above it. Pages that are not named come last.
local groups = {
  { "Begin", "../README", "tutorial", "README" },
  {
    "Guides",
    "recipes",
    "data",
    "live-runs",
    "repl",
    "tensors",
    "report",
    "adapters",
    "families",
    "jupyter",
  },
  { "Background", "ppo-details", "determinism", "performance", "engine-tour" },
  { "Reference", "api", "ops", "../CONTRIBUTING", "../CHANGELOG" },
}

local titles = { ["../README"] = "Perilune", README = "All pages", api = "Library", ops = "Ops" }
titles["../CONTRIBUTING"], titles["../CHANGELOG"] = "Contributing", "Changelog"
titles.tutorial, titles.families = "Thirty minutes", "Families of models"
titles["ppo-details"], titles.determinism = "Details of PPO", "Determinism"

local function escape(text)
  return (
    text:gsub('[&<>"]', { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" })
  )
end

local entities = { amp = "&", lt = "<", gt = ">", quot = '"' }

-- The text of a piece of HTML.
local function text_of(html)
  return (html:gsub("<[^>]*>", ""):gsub("&(%a+);", entities):gsub("%s+", " "))
end

local function address(name)
  if name == "../README" then return "index.html" end
  return (name == "README" and "pages" or name:gsub("^%.%./", ""):lower()) .. ".html"
end

-- The pages in the order of the navigation: {name, group, path, title, address}.
local function pages_of(root)
  local list, seen = {}, {}
  local function add(group, name)
    local path = ("%s/docs/%s.md"):format(root, name)
    if seen[name] or not lfs.attributes(path, "mode") then return end
    seen[name] = true
    local text = assert(files.read(path))
    list[#list + 1] = {
      name = name,
      group = group,
      path = path,
      title = titles[name] or text:match("^# ([^\n:]+)") or name,
      address = address(name),
    }
  end
  for _, group in ipairs(groups) do
    for i = 2, #group do
      add(group[1], group[i])
    end
  end
  local rest = {}
  for file in lfs.dir(root .. "/docs") do
    rest[#rest + 1] = file:match("^(.+)%.md$")
  end
  table.sort(rest)
  for _, name in ipairs(rest) do
    add("More", name)
  end
  return list
end

-- HTML of a Markdown file; nil and what is wrong.
local function converted(path, scratch)
  local out, err = scratch .. "/.html", scratch .. "/.err"
  local command = { "cmark-gfm", "--extension", "table", "--extension", "autolink", path }
  local ok, how, code = pcall(core.system.spawn, command, { stdout = out, stderr = err })
  local html = ok and how == "exit" and code == 0 and files.read(out)
  local said = files.read(err) or ""
  files.remove(out)
  files.remove(err)
  if html then return html end
  if not ok or code == 127 then
    return nil, "the program cmark-gfm is not there; on Debian: apt-get install cmark-gfm"
  end
  return nil, ("cmark-gfm failed on %s: %s"):format(path, said)
end

-- Headings get their anchors, functions of the library too; the sections go into the index.
local function anchored(html, page, index)
  local count, sections, at = {}, {}, nil
  local function section(level, title, anchor)
    at = { title = title, anchor = anchor, level = level, text = {} }
    sections[#sections + 1] = at
  end
  html = html:gsub("<h(%d)>(.-)</h%d>", function(level, inner)
    local title = text_of(inner)
    local anchor = links.anchor(title)
    local times = count[anchor] or 0
    count[anchor] = times + 1
    if times > 0 then anchor = anchor .. "-" .. times end
    section(tonumber(level), title, anchor)
    local text =
      '<h%s id="%s">%s <a class="anchor" href="#%s" aria-label="link to this">#</a></h%s>'
    return text:format(level, anchor, inner, anchor, level)
  end)
  html = html:gsub("<p><strong><code>(.-)</code></strong>", function(call)
    local name = text_of(call):match("^[%w_.:]+") or ""
    section(5, name, name)
    return ('<p class="entry" id="%s"><strong><code>%s</code></strong>'):format(name, call)
  end)
  -- What stands between two anchors is what the search finds.
  local starts = {}
  for _, one in ipairs(sections) do
    starts[#starts + 1] = { one, html:find('id="' .. one.anchor .. '"', 1, true) }
  end
  table.sort(starts, function(a, b) return a[2] < b[2] end)
  for i, start in ipairs(starts) do
    local upto = starts[i + 1] and starts[i + 1][2] or #html
    local text = text_of(html:sub(start[2], upto):gsub("^[^>]*>", ""):gsub("<[^>]*$", ""))
    index[#index + 1] = {
      page.address .. "#" .. start[1].anchor,
      start[1].title,
      page.title,
      text:sub(1, 600),
    }
  end
  return html, sections
end

-- Links to pages of ours become those of the site; others that are files of docs/ are kept.
local function relinked(html, page, by_path)
  local here = page.name:find("^%.%./") and "" or "docs/"
  return (
    html
      :gsub('(href=")([^"#]*)(#?[^"]*")', function(before, target, after)
        if target == "" or target:find("^%a+:") then return nil end
        local path = (here .. target):gsub("^docs/%.%./", "")
        if by_path[path] then return before .. by_path[path] .. after end
        path = path:gsub("^docs/", ""):gsub("/$", "")
        if path == "luacats" then path = "luacats/perilune.lua" end
        if path == "examples" then path = "pages.html" end
        return before .. path .. after
      end)
      :gsub('src="docs/', 'src="')
  )
end

local function navigation(pages, current, sections)
  local out, group = {}, nil
  for _, page in ipairs(pages) do
    if page.group ~= group then
      if group then out[#out + 1] = "</ul>" end
      out[#out + 1] = ("<h2>%s</h2><ul>"):format(page.group)
      group = page.group
    end
    local mark = page == current and ' aria-current="page"' or ""
    out[#out + 1] = ('<li><a href="%s"%s>%s</a>'):format(page.address, mark, escape(page.title))
    local inner = {}
    for _, one in ipairs(page == current and sections or {}) do
      if one.level == 2 then
        inner[#inner + 1] = ('<li><a href="#%s">%s</a></li>'):format(one.anchor, escape(one.title))
      end
    end
    if #inner > 0 then out[#out + 1] = "<ul>" .. table.concat(inner) .. "</ul>" end
    out[#out + 1] = "</li>"
  end
  return table.concat(out) .. "</ul>"
end

local LAYOUT <const> = [[
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>%s</title><link rel="stylesheet" href="site.css"></head>
<body><a class="skip" href="#main">To the text</a>
<header><a class="home" href="index.html">Perilune</a>
<div id="search" hidden><input type="search" placeholder="Search (press /)" aria-label="Search"
 autocomplete="off" aria-controls="found"><ol id="found" hidden></ol></div></header>
<div class="columns">
<nav aria-label="Pages"><details open><summary>Pages</summary>%s</details></nav>
<main id="main" tabindex="-1">%s
<footer>%s</footer></main></div>
<script src="search-index.js" defer></script><script src="site.js" defer></script></body></html>
]]

local function neighbour(page, word)
  return page and ('<a href="%s">%s: %s</a>'):format(page.address, word, escape(page.title)) or ""
end

local function copy_files(root, folder)
  local from = {
    ["site.css"] = folder_of_assets .. "site.css",
    ["site.js"] = folder_of_assets .. "site.js",
    ["report.png"] = root .. "/docs/report.png",
    ["luacats/perilune.lua"] = root .. "/docs/luacats/perilune.lua",
    LICENSE = root .. "/LICENSE",
  }
  for file in lfs.dir(root .. "/docs/examples") do
    if file:sub(1, 1) ~= "." then from["examples/" .. file] = root .. "/docs/examples/" .. file end
  end
  for _, name in ipairs { "luacats", "examples" } do
    assert(files.folder_make(folder .. "/" .. name))
  end
  for to, path in pairs(from) do
    if lfs.attributes(path, "mode") == "file" then
      local ok, message = files.copy(path, folder .. "/" .. to)
      if not ok then return nil, message end
    end
  end
  return true
end

local function fill(root, folder)
  local pages, by_path, index = pages_of(root), {}, {}
  for _, page in ipairs(pages) do
    by_path[("docs/" .. page.name .. ".md"):gsub("^docs/%.%./", "")] = page.address
  end
  for i, page in ipairs(pages) do
    local html, sections = converted(page.path, folder)
    if not html then return nil, sections end
    html, sections = anchored(html, page, index)
    html = relinked(html, page, by_path)
    local foot = neighbour(pages[i - 1], "Before") .. " " .. neighbour(pages[i + 1], "Next")
    local whole = LAYOUT:format(escape(page.title), navigation(pages, page, sections), html, foot)
    local ok, message = files.write_atomic(folder .. "/" .. page.address, whole)
    if not ok then return nil, message end
  end
  local text = "window.searchIndex = " .. json.encode(json.array(index)) .. ";\n"
  local ok, message = files.write_atomic(folder .. "/search-index.js", (text:gsub("</", "<\\/")))
  if ok then
    ok, message = copy_files(root, folder)
  end
  return ok and #pages, message
end

--- Builds the site, whole or not at all.
-- @tparam string root the folder that holds README.md and docs/
-- @tparam string folder what is written; one that is there must be such a site
-- @treturn ?integer the number of pages
-- @treturn ?string message
function site.build(root, folder)
  local there = lfs.attributes(folder, "mode")
  if there and not lfs.attributes(folder .. "/search-index.js", "mode") then
    return nil, ("%s is there and is no such site; give another folder"):format(folder)
  end
  local count
  local ok, message = files.folder_write(folder, function(tmp)
    local wrong
    count, wrong = fill(root, tmp)
    return count, wrong
  end)
  return ok and count or nil, message
end

return site
