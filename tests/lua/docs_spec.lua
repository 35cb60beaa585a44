--- The documentation: its code runs, its commands exist, its links lead somewhere.
local blocks = dofile("tests/lua/support/doc_blocks.lua")
local cli = require("perilune.cli")
local core = require("perilune.core")
local host = require("perilune.host")
local lfs = require("lfs")
local links = require("perilune.reference.links")
local pl = require("perilune")
local site = require("perilune.reference.site")
local scratch = dofile("tests/lua/support/scratch.lua")
local world = dofile("tests/lua/support/world.lua")

local pages = { "README.md", "CONTRIBUTING.md", "CHANGELOG.md" }
for file in lfs.dir("docs") do
  if file:match("%.md$") then pages[#pages + 1] = "docs/" .. file end
end
table.sort(pages)

local generated = { ["docs/api.md"] = true, ["docs/ops.md"] = true }

teardown(blocks.clean)

describe("code of the documentation", function()
  for _, page in ipairs(pages) do
    local list = generated[page] and {} or blocks.of(page)
    local place
    for _, block in ipairs(list) do
      if block.kind:find("^lua") or block.kind == "sh" or block.kind:find("^sh file=") then
        local tag = page == "docs/tutorial.md" and " #long" or "" -- minutes, on a small demo
        it(("%s:%d is right%s"):format(page, block.line, tag), function()
          place = place or blocks.folder()
          local fault = blocks.fault(place, block)
          assert(not fault, fault)
        end)
      end
    end
  end

  it("says of each block what it is", function()
    local known = { lua = true, sh = true, text = true, c = true, json = true, [""] = true }
    known["lua fragment"], known["sh form"] = true, true
    local faults = {}
    for _, page in ipairs(pages) do
      for _, block in ipairs(generated[page] and {} or blocks.of(page)) do
        local place = ("%s:%d: "):format(page, block.line)
        if not (known[block.kind] or block.kind:find("^%w+ file=[%w._/-]+$")) then
          faults[#faults + 1] = place .. "no kind of block: " .. block.kind
        elseif block.kind == "" and ("\n" .. block.text):find("\n%.?/?perilune ") then
          faults[#faults + 1] = place .. "commands are in blocks `sh` or `sh form`"
        end
      end
    end
    assert.are.same({}, faults)
  end)

  it("has commands and keys that exist", function()
    local faults, help, commands = {}, {}, { build = true, test = true, lint = true }
    for _, name in ipairs(cli.names()) do
      commands[name] = true
    end
    local function help_of(words)
      if not help[words] then
        local out = os.tmpname()
        local line = { host.executable }
        for word in (words .. " --help"):gmatch("%S+") do
          line[#line + 1] = word
        end
        core.system.spawn(line, { stdin = "/dev/null", stdout = out, stderr = out })
        help[words] = scratch.read(out)
        os.remove(out)
      end
      return help[words]
    end
    for _, page in ipairs(pages) do
      for _, block in ipairs(generated[page] and {} or blocks.of(page)) do
        local text = block.kind == "sh form" and block.text:gsub("\\\n", " ") or ""
        for line in text:gmatch("[^\n]+") do
          local words = line:gsub("%s#.*", ""):gsub("%-%-detach ", ""):match("^%.?/?perilune (.+)$")
          local name, second = (words or ""):match("^(%w+)%s*(%S*)")
          if name and not commands[name] then
            faults[#faults + 1] = page .. ": there is no command " .. name
          elseif name and name ~= "build" and name ~= "test" and name ~= "lint" then
            local takes_recipe = { run = true, plan = true, sweep = true, compare = true }
            local asked = takes_recipe[name] and "run " .. second or name
            for key in words:gmatch("%s%-%-([%w_]+)") do
              if
                key ~= "help"
                and key ~= "preset"
                and key ~= "memory"
                and not help_of(asked):find("--" .. key, 1, true)
                and not help_of(name):find("--" .. key, 1, true)
              then
                faults[#faults + 1] = ("%s: %s has no key %s"):format(page, asked, key)
              end
            end
          end
        end
      end
    end
    assert.are.same({}, faults)
  end)
end)

describe("the example of DPO", function()
  local w, runs = nil, 0

  setup(function() w = world.new("llama") end)

  local function dpo(more)
    runs = runs + 1
    local settings = {
      model = w.model,
      dataset = w.rankings,
      learning_rate = 0.003,
      num_train_epochs = 2,
      output_dir = ("%s/dpo%d"):format(w.dir, runs),
      quiet = true,
    }
    for key, value in pairs(more) do
      settings[key] = value
    end
    return pl.config.run_recipe("docs/examples/dpo.lua", settings), settings.output_dir
  end

  it("learns the rankings, and resumes to the same bits", function()
    local whole = dpo {}
    local first, last = whole.history[1], whole.history[#whole.history]
    assert.are.equal(0, first["rewards/margins"]) -- the policy is its reference
    assert.is_true(math.abs(first.loss - math.log(2)) < 1e-6)
    assert.is_true(last["rewards/accuracies"] >= 0.8, last["rewards/accuracies"])
    local _, dir = dpo { max_steps = 5, save_steps = 5 }
    local resumed = dpo { resume = "latest", output_dir = dir, max_steps = 0 }
    local hash = assert(pl.load(whole.model)):hash()
    assert.are.equal(hash, assert(pl.load(resumed.model)):hash())
  end)
end)

describe("the site", function()
  local folder

  setup(function()
    folder = scratch.folder() .. "/site"
    assert(site.build(host.root, folder))
  end)

  it("has every page, and links that lead somewhere, to anchors that are there once", function()
    local ids, texts, faults, count = {}, {}, {}, 0
    for file in lfs.dir(folder) do
      if file:match("%.html$") then
        local text = scratch.read(folder .. "/" .. file)
        ids[file], texts[file] = {}, text
        for id in text:gmatch(' id="([^"]*)"') do
          assert.is_nil(ids[file][id], file .. ": twice: " .. id)
          ids[file][id] = true
        end
      end
    end
    for file, text in pairs(texts) do
      for target in text:gmatch('%f[%w][hs]re?[cf]="([^"]*)"') do
        local path, anchor = target:match("^([^#]*)#?(.*)$")
        path = path == "" and file or path
        count = count + 1
        if not target:find("^%a+:") then
          anchor = anchor:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
          local there = lfs.attributes(folder .. "/" .. path, "mode") == "file"
          if not there or anchor ~= "" and ids[path] and not ids[path][anchor] then
            faults[#faults + 1] = file .. ": " .. target
          end
        end
      end
    end
    assert.are.same({}, faults)
    assert.is_true(count > 500)
    for _, page in ipairs(pages) do
      local name = page:match("([^/]+)%.md$"):lower()
      name = page == "README.md" and "index" or page == "docs/README.md" and "pages" or name
      assert.truthy(texts[name .. ".html"], page)
    end
  end)

  it("is found in: functions and ops are in the index, as text", function()
    local text = scratch.read(folder .. "/search-index.js")
    assert.truthy(text:find('"api.html#pl.adamw"', 1, true))
    assert.truthy(text:find('"ops.html#matmul"', 1, true))
    assert.is_nil(text:find("</", 1, true))
  end)

  it("is no place for another's files", function()
    local other = scratch.folder()
    scratch.write(other .. "/mine.txt", "mine")
    local made, message = site.build(host.root, other)
    assert.is_nil(made)
    assert.truthy(message:find("is no such site", 1, true))
    assert.are.equal("mine", scratch.read(other .. "/mine.txt"))
    assert(site.build(host.root, folder)) -- its own it makes anew
  end)
end)

describe("links of the documentation", function()
  it(
    "lead to files and headings that are there",
    function() assert.are.same({}, links.faults(pages)) end
  )

  it("are looked at: a dead one is found", function()
    local dir = scratch.folder()
    scratch.write(
      dir .. "/a.md",
      "# One `two`, three!\n\n[x](a.md#one-two-three) [y](#one)\n"
        .. "```\n[no](link.md)\n```\n`[no](link.md)` [z](none.md)\n\n# One\n\n# One\n[w](#one-1)\n"
    )
    assert.are.same(
      { dir .. "/a.md: none.md: there is no such file" },
      links.faults { dir .. "/a.md" }
    )
    scratch.write(dir .. "/a.md", "[y](#one) ![p](p.png) [u](https://example.org/x)\n")
    assert.are.same({
      dir .. "/a.md: #one: there is no such heading",
      dir .. "/a.md: p.png: there is no such file",
    }, links.faults { dir .. "/a.md" })
  end)
end)
