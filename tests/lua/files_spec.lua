local files = require("perilune.base.files")
local lfs = require("lfs")
local llama2c = dofile("tests/lua/support/llama2c.lua")
local pl = require("perilune")
local scratch = dofile("tests/lua/support/scratch.lua")

local stories = "../shared/data/models/stories260K/stories260K.bin"

local folder

before_each(function() folder = scratch.folder() end)

after_each(function()
  files.io_fail_at(0)
  scratch.clean()
end)

describe("single files", function()
  it("are written whole or not at all", function()
    local path = folder .. "/a"
    assert.is_true(files.write_atomic(path, "old\0text"))
    assert.equal("old\0text", files.read(path))
    local k = 1
    while true do
      files.io_fail_at(k, "ENOSPC")
      local ok, message = files.write_atomic(path, "new")
      files.io_fail_at(0)
      if ok then break end
      assert.matches("No space left on device %(free some space and try again%)", message)
      local text = files.read(path)
      assert.is_true(text == "old\0text" or message:find("the folder") ~= nil)
      assert.same({ "a" }, scratch.names(folder))
      k = k + 1
    end
    assert.is_true(k >= 6)
    assert.equal("new", files.read(path))
  end)

  it("give nil and a message when they cannot be read", function()
    for _, case in ipairs {
      { folder .. "/none", "No such file" },
      { folder, "is a folder, not a regular file" },
      { "/dev/zero", "is a device, not a regular file" },
    } do
      local text, message = files.read(case[1])
      assert.is_nil(text)
      assert.matches(case[2], message, 1, true)
    end
    files.write_atomic(folder .. "/a", "12345")
    assert.is_nil((files.read(folder .. "/a", 4)))
    assert.equal("12345", files.read(folder .. "/a", 5))
    assert.has_error(function() files.read("a\0b") end)
  end)

  it("keep the mode of what they replace", function()
    local path = folder .. "/a"
    assert(files.open_log(path, { owner_only = true })):close()
    assert(files.write_atomic(path, "x"))
    assert.equal("rw-------", lfs.attributes(path, "permissions"))
  end)

  it("are renamed and removed", function()
    scratch.write(folder .. "/a", "a")
    assert.is_true(files.rename(folder .. "/a", folder .. "/b"))
    assert.is_true(files.remove(folder .. "/a"))
    assert.same({ "b" }, scratch.names(folder))
    assert.is_true(files.remove(folder .. "/b"))
    assert.same({}, scratch.names(folder))
    local ok, message = files.rename(folder .. "/a", folder .. "/b")
    assert.is_nil(ok)
    assert.equal(("renaming to '%s/b': No such file or directory"):format(folder), message)
  end)

  it("can be written piece by piece, and are there when they are committed", function()
    local path = folder .. "/a"
    do
      local given_up <close> = assert(files.create(path))
      assert.is_true(given_up:write("half"))
    end
    assert.same({}, scratch.names(folder))
    local file <close> = assert(files.create(path))
    assert.is_true(file:write("a", "\0", 12))
    assert.is_nil(lfs.attributes(path))
    assert.is_true(file:commit())
    assert.equal("a\0" .. "12", scratch.read(path))
    file:close()
    assert.has_error(
      function() file:write("b") end,
      "calling 'write' on bad self (the file was closed)"
    )
    assert.is_nil((files.create(folder .. "/none/a")))
  end)

  it("are copied and hashed", function()
    files.write_atomic(folder .. "/a", "abc")
    assert.is_true(files.copy(folder .. "/a", folder .. "/b"))
    assert.equal("abc", files.read(folder .. "/b"))
    assert.equal("06b05ab6733a618578af5f94892f3950", files.hash(folder .. "/b"))
    assert.equal("06b05ab6733a618578af5f94892f3950", files.hash_string("abc"))
    assert.is_nil((files.hash(folder .. "/none")))
  end)

  it("hold JSON", function()
    local path = folder .. "/a.json"
    assert.is_true(files.write_json(path, { b = 1, a = { 0.5 } }))
    assert.equal('{\n  "a": [\n    0.5\n  ],\n  "b": 1\n}\n', files.read(path))
    assert.equal(0.5, files.read_json(path).a[1])
    files.write_atomic(path, "{")
    local value, message = files.read_json(path)
    assert.is_nil(value)
    assert.equal(("'%s': json: unexpected end of text at line 1, column 2"):format(path), message)
  end)
end)

describe("logs", function()
  it("have whole rows, whatever fails", function()
    local path = folder .. "/log"
    local log <close> = assert(files.open_log(path))
    assert.is_true(log:append("one\n"))
    files.io_fail_at(1, "ENOSPC")
    local ok, message = log:append("two\n")
    assert.is_nil(ok)
    assert.equal(
      ("writing '%s': No space left on device (free some space and try again)"):format(path),
      message
    )
    files.io_fail_at(1, "short", true)
    assert.is_true(log:append("two\n"))
    files.io_fail_at(1, "EIO")
    ok, message = log:sync()
    assert.is_nil(ok)
    assert.equal(("syncing '%s': Input/output error"):format(path), message)
    files.io_fail_at(0)
    assert.is_true(log:sync())
    assert.equal("one\ntwo\n", scratch.read(path))
    log:close()
    assert.has_error(
      function() log:append("") end,
      "calling 'append' on bad self (the log was closed)"
    )
    assert.has_error(function() files.open_log(path, { owner = true }) end)
  end)
end)

describe("folders", function()
  it("are made with those above them, and removed with what is in them", function()
    assert.is_true(files.folder_make(folder .. "/a/b/c/"))
    assert.is_true(files.folder_make(folder .. "/a/b"))
    assert.equal("directory", lfs.attributes(folder .. "/a/b/c", "mode"))
    scratch.write(folder .. "/a/file", "x")
    local ok, message = files.folder_make(folder .. "/a/file/inside")
    assert.is_nil(ok)
    assert.matches("a/file/inside': Not a directory", message, 1, true)
    assert.is_true(files.folder_remove(folder .. "/a"))
    assert.is_true(files.folder_remove(folder .. "/a"))
    assert.same({}, scratch.names(folder))
  end)

  local function save(text)
    local tmp = assert(files.folder_begin(folder .. "/out"))
    assert(files.write_atomic(tmp .. "/text", text))
    return files.folder_commit(tmp, folder .. "/out")
  end

  it("appear whole, replace one another and know when they are damaged", function()
    assert.is_true(save("one"))
    assert.is_true(save("two"))
    assert.same({ "out" }, scratch.names(folder))
    assert.equal("two", files.read(folder .. "/out/text"))
    assert.is_true(files.folder_verify(folder .. "/out"))
    files.write_atomic(folder .. "/out/text", "twO")
    local ok, message = files.folder_verify(folder .. "/out")
    assert.is_nil(ok)
    assert.matches("out/text' is damaged", message)
  end)

  it("are written whole or not at all, whatever becomes of who fills them", function()
    local path = folder .. "/out"
    local function write(text)
      return files.folder_write(
        path,
        function(tmp) return files.write_atomic(tmp .. "/text", text) end
      )
    end
    assert.is_true(write("one"))
    local ok, message = files.folder_write(path, function() return nil, "no more" end)
    assert.is_nil(ok)
    assert.equal("no more", message)
    local raised = { "mine" }
    ok, message = pcall(files.folder_write, path, function() error(raised) end)
    assert.is_false(ok)
    assert.equal(raised, message)
    assert.is_true(files.folder_verify(path))
    assert.equal("one", files.read(path .. "/text"))
    assert.same({ "out" }, scratch.names(folder))
    ok, message = files.folder_write(path .. "/text/below", function() return true end)
    assert.is_nil(ok)
    assert.matches("text", message)
  end)

  it("can be given up, and nothing else can", function()
    local tmp = assert(files.folder_begin(folder .. "/out"))
    assert.is_true(files.folder_discard(tmp))
    assert.same({}, scratch.names(folder))
    local ok, message = files.folder_discard(folder)
    assert.is_nil(ok)
    assert.matches("is no temporary folder", message)
  end)
end)

describe("gguf", function()
  -- An entry: key, type, value.
  local function entry(key, kind, value) return string.pack("<s8I4", key, kind) .. value end

  it("opens a file, tells its entries and loads its tensors", function()
    local path = folder .. "/x.gguf"
    local head = "GGUF"
      .. string.pack("<I4I8I8", 3, 1, 5)
      .. entry("a.text", 8, string.pack("<s8", "ä"))
      .. entry("a.list", 9, string.pack("<I4I8s8s8", 8, 2, "x", "y\0"))
      .. entry("a.number", 6, string.pack("<f", 0.5))
      .. entry("a.integer", 5, string.pack("<i4", -7))
      .. entry("a.flag", 7, "\1")
      .. string.pack("<s8I4I8I8I4I8", "w", 2, 3, 2, 0, 0)
    local padded = head .. ("\0"):rep(-#head % 32)
    assert(files.write_atomic(path, padded .. string.pack("<ffffff", 1, 2, 3, 4, 5, 6)))
    local file <close> = assert(files.gguf.open(path))
    assert.are.same({ "a.flag", "a.integer", "a.list", "a.number", "a.text" }, file:keys())
    assert.are.equal("ä", file:get("a.text"))
    assert.are.same({ "x", "y\0" }, file:get("a.list"))
    assert.are.equal(0.5, file:get("a.number"))
    assert.are.equal("integer", math.type(file:get("a.integer")))
    assert.are.equal(-7, file:get("a.integer"))
    assert.is_true(file:get("a.flag"))
    assert.is_nil(file:get("b"))
    local names, info = file:names()
    assert.are.same({ "w" }, names)
    assert.are.same({ stored = "F32", dtype = "float32", shape = { 2, 3 } }, info.w)
    assert.are.same({ { 1, 2, 3 }, { 4, 5, 6 } }, file:load("w"):totable())
    local none, message = file:load("v")
    assert.is_nil(none)
    assert.are.equal("the file has no tensor 'v'", message)
    file:close()
    assert.has_error(function() file:keys() end)
    none, message = files.gguf.open(folder)
    assert.is_nil(none)
    assert.matches("is a folder, not a regular file", message)
  end)
end)

describe("gguf.save", function()
  it("writes what open reads", function()
    local path = folder .. "/x.gguf"
    local fields = {
      { "general.architecture", "text", "llama" },
      { "a.u32", "u32", 4294967295 },
      { "a.i32", "i32", { -7, 7 } },
      { "a.f32", "f32", { 0.5, -1e9 } },
      { "a.bool", "bool", false },
      { "a.texts", "text", { "x", "", "y\0ä" } },
      { "a.none", "text", {} },
    }
    local tensors = { w = pl.tensor { { 1, 2, 3 }, { 4, 5, 6 } }, h = pl.randn { 2, 32 } }
    tensors.q = pl.cast(tensors.h, "q8_0")
    tensors.b = pl.cast(tensors.w, "bfloat16")
    tensors.f = pl.cast(tensors.w, "float16")
    assert.is_true(files.gguf.save(path, fields, tensors))
    local file <close> = assert(files.gguf.open(path))
    for _, field in ipairs(fields) do
      assert.are.same(field[3], file:get(field[1]))
    end
    local names, info = file:names()
    assert.are.same({ "b", "f", "h", "q", "w" }, names)
    assert.are.equal("Q8_0", info.q.stored)
    for name, tensor in pairs(tensors) do
      assert.are.equal(tensor:bytes(), file:load(name, true):bytes())
    end
    local first = files.hash(path)
    assert.is_true(files.gguf.save(path, fields, tensors))
    assert.are.equal(first, files.hash(path))
  end)

  it("refuses what the format cannot hold, and leaves nothing", function()
    local path = folder .. "/none.gguf"
    local function refused(fields, tensors, why)
      local ok, message = files.gguf.save(path, fields, tensors)
      assert.is_nil(ok)
      assert.is_truthy(message:find(why, 1, true), message)
      assert.is_nil(lfs.attributes(path))
    end
    refused({ { "a", "u32", -1 } }, {}, "'a' is -1, no integer from 0 to 4294967295")
    refused({ { "a", "i32", 0.5 } }, {}, "'a' is 0.5, no integer")
    refused({ { "a", "u32", 1 }, { "a", "u32", 2 } }, {}, "the key 'a' stands twice")
    refused({ { "\xff", "u32", 1 } }, {}, "is not UTF-8")
    refused({}, { [("n"):rep(64)] = pl.zeros { 1 } }, "is too long")
    refused({}, { a = pl.zeros { 1, 1, 1, 1, 1 } }, "'a' has more than 4 axes")
    assert.has_error(
      function() files.gguf.save(path, { { "a", "text", 1 } }, {}) end,
      "gguf.save: 'a' must hold texts"
    )
  end)
end)

describe("safetensors", function()
  local path

  before_each(function() path = folder .. "/model.safetensors" end)

  it("come back as they were", function()
    local tensors = {
      ["a.weight"] = pl.tensor { { 1, 0 / 0, -1 / 0 }, { -0.0, 0.1, 1e-45 } },
      ids = pl.tensor({ 7, -2147483648 }, "int32"),
      wide = pl.tensor({ 0.1 }, "float64"),
      none = pl.zeros { 0, 4 },
    }
    assert.is_true(files.safetensors.save(path, tensors, { step = "12" }))
    local loaded, metadata = files.safetensors.load(path)
    assert.same({ format = "pt", step = "12" }, metadata)
    assert.equal(files.hash_tensors(tensors), files.hash_tensors(loaded))
    local few = files.safetensors.load(folder, { only = { "ids" } })
    assert.is_nil(few.wide)
    assert.equal("int32", few.ids:dtype())
  end)

  it("list their names without being loaded", function()
    files.safetensors.save(path, { b = pl.zeros { 2, 3 }, a = pl.zeros {} })
    local names, info, metadata = files.safetensors.names(path)
    assert.same({ "a", "b" }, names)
    assert.same({ stored = "F32", dtype = "float32", shape = { 2, 3 } }, info.b)
    assert.same({}, info.a.shape)
    assert.equal("pt", metadata.format)
  end)

  it("give nil and a message for files that are none", function()
    files.write_atomic(path, "hello, world")
    local loaded, message = files.safetensors.load(path)
    assert.is_nil(loaded)
    assert.matches("this is no safetensors file", message)
    assert.is_nil((files.safetensors.names(path)))
    assert.is_nil((files.safetensors.load(folder .. "/none")))
    files.safetensors.save(path, { a = pl.zeros { 1 } })
    loaded, message = files.safetensors.load(path, { only = { "a", "b" } })
    assert.is_nil(loaded)
    assert.matches("has no tensor 'b'", message)
  end)

  it("refuse what cannot be saved", function()
    assert.has_error(
      function() files.safetensors.save(path, { a = 1 }) end,
      "'a' must be a tensor, not number"
    )
    assert.has_error(function() files.safetensors.save(path, { pl.zeros { 1 } }) end)
    assert.has_error(function() files.safetensors.save(path, {}, { step = 1 }) end)
    assert.same({}, scratch.names(folder))
  end)
end)

describe("llama2.c checkpoints", function()
  it("are read under Hugging Face's names", function()
    local model = llama2c.write(folder)
    local config, tensors = files.llama2c.load(folder .. "/tiny.bin")
    for key, value in pairs(llama2c.config) do
      if key ~= "initializer_range" then assert.equal(value, config[key], key) end
    end
    local count = 0
    for name, tensor in pairs(tensors) do
      count = count + 1
      assert.same(model.weights[name]:shape(), tensor:shape())
      assert.is_true(model.weights[name]:bytes() == tensor:bytes(), name)
    end
    assert.equal(20, count)
    assert.equal(#model.entries, count)
  end)

  it("of a published model are read as well", function()
    if not lfs.attributes(stories) then
      pending("there is no " .. stories)
      return
    end
    local config, tensors = files.llama2c.load(stories)
    assert.equal(64, config.hidden_size)
    assert.equal(4, config.num_key_value_heads)
    assert.is_true(config.tie_word_embeddings)
    assert.is_true(config.rope_interleaved)
    assert.is_nil(tensors["lm_head.weight"])
    local count = 0
    for _ in pairs(tensors) do
      count = count + 1
    end
    assert.equal(47, count)
    assert.same({ 172, 64 }, tensors["model.layers.4.mlp.gate_proj.weight"]:shape())
  end)

  it("give nil and a message when they are cut short", function()
    files.write_atomic(folder .. "/m.bin", ("\1\0\0\0"):rep(7))
    local config, message = files.llama2c.load(folder .. "/m.bin")
    assert.is_nil(config)
    assert.matches("dim is no even multiple of n_heads", message)
  end)
end)
