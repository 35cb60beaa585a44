--- The personal-data rule: labelled sentences, check digits, hostile text, user names, rows.

local UserNames = require("perilune.rules.personal.user_names")
local check_digits = require("perilune.rules.personal.check_digits")
local personal_data = require("perilune.rules.personal_data")
local rules = require("perilune").rules
local word_lists = require("perilune.rules.personal.word_lists")
local lfs = require("lfs")
local check = require("collect.check_personal_data")

local SENTENCES <const> = "tests/data/personal_data.tsv"
local BOUND <const> = 0.95

local function masked(text, options) return (personal_data.matcher(options):mask(text)) end

describe("labelled sentences", function()
  local sentences, options = check.read(SENTENCES)

  it("are at least 400, half of them traps, with marks in both halves", function()
    assert.is_true(#sentences >= 400)
    local traps, halves = 0, { 0, 0 }
    for i, sentence in ipairs(sentences) do
      assert.equal(i, sentence.number)
      traps = traps + (#sentence.spans == 0 and 1 or 0)
      halves[i % 2 + 1] = halves[i % 2 + 1] + #sentence.spans
      for _, span in ipairs(sentence.spans) do
        assert.is_true(span.first >= 1 and span.last <= #sentence.text and span.first <= span.last)
      end
      assert.is_nil(sentence.text:find("{{", 1, true))
    end
    assert.is_true(traps / #sentences > 0.45 and traps / #sentences < 0.55)
    assert.is_true(halves[1] > 100 and halves[2] > 100)
  end)

  it("are told with precision and recall of 0.95 on the whole and on the held-out half", function()
    local figures = check.figures(sentences, options)
    for _, half in ipairs { "whole", "held out" } do
      for _, measure in ipairs { "overlap", "exact" } do
        local cell = figures[half].all[measure]
        assert.is_true(cell.precision >= BOUND, half .. " precision, " .. measure)
        assert.is_true(cell.recall >= BOUND, half .. " recall, " .. measure)
      end
    end
  end)

  it("fail the bound when the rule finds nothing, or labels lie", function()
    local figures = check.figures(sentences, { kinds = { "IBAN" } })
    assert.is_true(figures.whole.all.overlap.recall < 0.1)
    local moved = {}
    for i, sentence in ipairs(sentences) do
      local other = sentences[i % #sentences + 1]
      moved[i] = { number = i, topic = "", text = sentence.text, spans = other.spans }
    end
    figures = check.figures(moved, options)
    assert.is_true(figures.whole.all.exact.precision < 0.2)
    assert.is_true(figures.whole.all.exact.recall < 0.2)
  end)

  it("are counted as the head of the command says", function()
    local one = {
      {
        number = 1,
        topic = "x",
        text = "Mail anna@example.com or Anna now",
        spans = {
          { kind = "EMAIL", first = 6, last = 12 },
          { kind = "PHONE", first = 1, last = 4 },
        },
      },
    }
    local row = check.figures(one, {}).development
    assert.same(
      { found = 1, right = 1, labels = 1, recalled = 1, precision = 1, recall = 1 },
      row.EMAIL.overlap
    )
    assert.same(
      { found = 1, right = 0, labels = 1, recalled = 0, precision = 0, recall = 0 },
      row.EMAIL.exact
    )
    assert.same(
      { found = 0, right = 0, labels = 1, recalled = 0, precision = 1, recall = 0 },
      row.PHONE.overlap
    )
    assert.equal(
      1 / 3,
      check.figures({
        {
          number = 2,
          topic = "x",
          text = "Anna, Olga, Ingrid",
          spans = { { kind = "NAME", first = 1, last = 4 } },
        },
      }, {})["held out"].all.exact.precision
    )
  end)

  it("are refused with the line when a line is not in the format", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write("# head\n1\tname\tfine\nno tabs\n")
    file:close()
    local list, message = check.read(path)
    os.remove(path)
    assert.is_nil(list)
    assert.equal(path .. ":3: not number, topic and sentence with tabs between", message)
  end)
end)

describe("keys, tokens and addresses of network cards", function()
  -- Made up, but for their form.
  local word = "a1B2c3D4e5F6g7H8i9J0"
  local mac = "3c:52:82:4f:9a:0d"

  it("are masked whole, whatever stands around them", function()
    local github = "ghp_" .. word .. "k1L2m3N4o5P6q7R8"
    for text, wanted in pairs {
      ["my key is sk-" .. word .. "."] = "my key is [KEY].",
      ["(sk-proj-" .. word .. "_x-" .. word .. ")"] = "([KEY])",
      ["sk-" .. ("0a"):rep(24)] = "[KEY]",
      ["git clone with " .. github .. ", please"] = "git clone with [KEY], please",
      ["token=" .. github .. "&x=1"] = "token=[KEY]&x=1",
      ["AKIAIOSFODNN7EXAMPLE is in the file"] = "[KEY] is in the file",
      ["hf_" .. ("aB3"):rep(11)] = "[KEY]",
      ["-H 'Authorization: Bearer " .. word .. "' x"] = "-H 'Authorization: Bearer [KEY]' x",
      ['{"api_key": "' .. word .. '"}'] = '{"api_key": "[KEY]"}',
      ["OPENAI_API_KEY=" .. word] = "OPENAI_API_KEY=[KEY]",
      ["export MY_OWN_GITHUB_TOKEN=" .. word] = "export MY_OWN_GITHUB_TOKEN=[KEY]",
      ["secret => '" .. word .. "=='"] = "secret => '[KEY]=='",
      ["password: " .. word .. " as before"] = "password: [KEY] as before",
      ["jwt eyJ" .. word .. ".eyJ" .. word .. "." .. word .. "!"] = "jwt [KEY]!",
      ["-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nbye"] = "[KEY]\nbye",
      ["-----BEGIN PRIVATE KEY-----\nMIIEpAIB"] = "[KEY]",
      ["card " .. mac .. " is mine"] = "card [MAC] is mine",
      ["3C-52-82-4F-9A-0D"] = "[MAC]",
      ["3c52.824f.9a0d,"] = "[MAC],",
      ["00:11:22:33:44:55"] = "[MAC]",
    } do
      assert.equal(wanted, masked(text), text)
    end
  end)

  it("are not what only looks so", function()
    for _, text in ipairs {
      "the class sk-circle-fade-dot-1234-item-more",
      "set OPENAI_API_KEY=sk-your-api-key-goes-here first",
      "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
      "api_key = YOUR_API_KEY_GOES_HERE",
      "password: correct-horse-battery",
      "commit a1b2c3d4e5f60718293a4b5c6d7e8f9012345678",
      "AKIAIOSFODNN7EXAMPLEX",
      "Bearer of bad news",
      "linux-image-5.4.0-42-generic_5.4.0-42.46_amd64.deb",
      "00:00:00:00:00:00 and ff:ff:ff:ff:ff:ff",
      "fingerprint 3c:52:82:4f:9a:0d:11:22:33:44:55:66:77:88:99:aa",
      "01-42-68-53-00-12",
      "1234.5678.9012",
      "from 10:15:20 to 11:30:45",
    } do
      local kinds = { kinds = { "KEY", "MAC" } }
      assert.equal(text, masked(text, kinds), text)
    end
  end)
end)

describe("UK National Insurance numbers", function()
  it("are masked as people write them", function()
    for _, text in ipairs {
      "my National Insurance number is AB123456C",
      "my nino is ab123456c",
      "national insurance no: jg 10 37 59 a",
      "NI JG103759",
      "NI number AB-12-34-56-C",
    } do
      assert.matches("%[ID%]$", masked(text), text)
    end
    assert.equal("Insurance [ID], she said", masked("Insurance AB123456C, she said"))
    assert.equal("It is [ID], she said", masked("It is AB 12 34 56 C, she said"))
  end)

  it("are not parts and other numbers", function()
    for _, text in ipairs {
      "part AB 12 34 56 C is sold out",
      "the disk AB123456C",
      "the model no is AB123456C",
      "it was ab123456c",
      "AB123456",
      "AB123456CD",
      "AB1234567C",
      "at 10 20 30 they met",
    } do
      assert.equal(text, masked(text), text)
    end
  end)
end)

describe("streets of two German words", function()
  it("are told from other words before Str", function()
    assert.equal("[ADDRESS]", masked("Berliner Str 5"))
    assert.equal("[ADDRESS]", masked("Lange Str 17"))
    assert.equal("[ADDRESS]", masked("Berliner Str. 5"))
    for _, text in ipairs { "Max Str 255", "Min Str 10", "My Str 18 Dex 12" } do
      assert.equal(text, masked(text), text)
    end
  end)
end)

describe("check digits", function()
  -- One right number each; every other last digit (or letter) must be refused.
  local right = {
    { "luhn", "4539380675691933" },
    { "card", "4539380675691933" },
    { "iban", "DE32945807302157368193" },
    { "dni", "02448594Z" },
    { "dni", "X3471406Q" },
    { "nir", "185077594742257" },
    { "codice_fiscale", "RSSGNN84C52H501F" },
    { "pesel", "85031241105" },
    { "personnummer", "8503123914" },
    { "cpf", "26219308166" },
    { "bsn", "142430705" },
    { "sin", "248853558" },
    { "aadhaar", "635778913601" },
    { "verhoeff", "635778913601" },
    { "steuer_id", "92659083448" },
  }
  for _, case in ipairs(right) do
    it(case[1] .. " takes " .. case[2] .. " and no other last character", function()
      local number = case[2]
      assert.is_true(check_digits[case[1]](number))
      local last = number:sub(-1)
      local others = last:find("%d") and "0123456789" or "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
      for other in others:gmatch(".") do
        assert.equal(other == last, check_digits[case[1]](number:sub(1, -2) .. other), other)
      end
    end)
  end

  it("know the areas and letters that are never issued", function()
    for number, wanted in pairs {
      ["219487730"] = true,
      ["000123456"] = false,
      ["666451234"] = false,
      ["900451234"] = false,
      ["219007730"] = false,
      ["219480000"] = false,
    } do
      assert.equal(wanted, check_digits.ssn(number), number)
    end
    for number, wanted in pairs {
      AB123456C = true,
      GB123456C = false,
      DA123456C = false,
      AO123456C = false,
      AB123456E = false,
    } do
      assert.equal(wanted, check_digits.nino(number), number)
    end
  end)
end)

describe("mask", function()
  it("puts typed placeholders and counts them", function()
    local text, counts =
      personal_data.matcher():mask("Mail anna@example.org or bob@example.org, +49 30 901820.")
    assert.equal("Mail [EMAIL] or [EMAIL], [PHONE].", text)
    assert.same({ EMAIL = 2, PHONE = 1 }, counts)
  end)

  it("knows what announces a phone in other languages", function()
    for text, expected in pairs {
      ["手机号 13812345678"] = "手机号 [PHONE]",
      ["我的电话是 138 1234 5678。"] = "我的电话是 [PHONE]。",
      ["тел. 8 916 123-45-67"] = "тел. [PHONE]",
      ["Звоните 495 1234567"] = "Звоните [PHONE]",
      ["tlf. 22 12 34 56"] = "tlf. [PHONE]",
      ["दूरभाष 98765 43210"] = "दूरभाष [PHONE]",
      ["Ligue para (11) 91234-5678"] = "Ligue para [PHONE]",
      ["Tél. 01-42-68-53-00"] = "Tél. [PHONE]",
      ["tel 06.12.34.56.78, ok"] = "tel [PHONE], ok",
    } do
      assert.equal(expected, (masked(text)))
    end
    for _, text in ipairs {
      "Ligue 1 2022 2023 2024",
      "seen on 01-02-68 and 03-04-69",
      "订单 13812345678",
      "le 01.02.68 et 31/12/99",
    } do
      assert.equal(text, (masked(text)))
    end
  end)

  it("knows forms of other countries, and what only looks like one", function()
    for text, expected in pairs {
      ["Desk: +1-415-555-0170x23"] = "Desk: [PHONE]x23",
      ["my card 6304 0000 0000 0000 00"] = "my card [CARD]",
      ["Maestro 676000000007, ok"] = "Maestro [CARD], ok",
      ["Potsdamer Straße 21, 10785 Berlin"] = "[ADDRESS]",
      ["Kölner Str. 8, 40479 Düsseldorf"] = "[ADDRESS]",
      ["ul. Piotrkowska 12, 90-051 Łódź"] = "[ADDRESS]",
      ["al. Jana 12, 00-590 Warszawa"] = "[ADDRESS]",
      ["text me on 5550134567"] = "text me on [PHONE]",
      ["Am Stadtpark 5 wohnt sie"] = "[ADDRESS] wohnt sie",
    } do
      assert.equal(expected, (masked(text)))
    end
    for _, text in ipairs {
      "Im Sommer 1997 kam sie.",
      "Auf der Tagung 2012 sprach er.",
      "Das Ergebnis ist 000 000 0000.",
      '{"text":"81520037","n":1}',
      "a picture of 1920x1080 points",
      "as Ouyang et al. Table 3 shows",
      "Shao et al. Nature 2022",
      "SD card 00000000000000",
    } do
      assert.equal(text, (masked(text)))
    end
  end)

  it("leaves a text without personal data as it is", function()
    for _, text in ipairs { "", "nothing here", "\255\254\0x", "Paris in May" } do
      local same, counts = personal_data.matcher():mask(text)
      assert.equal(text, same)
      assert.same({}, counts)
    end
  end)

  it("keeps to the kinds that are asked for", function()
    assert.equal("Anna has [IP]", masked("Anna has 84.172.19.203", { kinds = { "IP" } }))
    assert.equal(
      "[NAME] has 84.172.19.203",
      masked("Anna has 84.172.19.203", { kinds = { "NAME" } })
    )
    local ok, message = pcall(masked, "x", { kinds = { "NAMES" } })
    assert.is_false(ok)
    assert.truthy(message:find('no kind "NAMES"; there are URL, EMAIL', 1, true))
  end)

  it(
    "gives a name found once its other occurrences",
    function()
      assert.equal("Dear Dr [NAME], is [NAME] right?", masked("Dear Dr Okafor, is Okafor right?"))
    end
  )

  it("knows every introduction in small letters", function()
    for _, introduction in ipairs {
      "my name is",
      "mijn naam is",
      "mi nombre es",
      "mitt navn er",
      "ich heiße",
      "ich heisse",
      "je m'appelle",
      "me llamo",
      "mi chiamo",
      "jag heter",
      "nazywam się",
    } do
      assert.equal(introduction .. " [NAME]", masked(introduction .. " Zorblat"))
    end
  end)

  it(
    "masks a URL with a secret whole, whatever is inside",
    function()
      assert.equal(
        "at [URL].",
        masked("at https://a.example/x?mail=anna@example.org&token=8f3kd92j.")
      )
    end
  )

  it("finds nothing new in what it masked", function()
    local sentences, options = check.read(SENTENCES)
    for _, sentence in ipairs(sentences) do
      local once = masked(sentence.text, options)
      assert.equal(once, masked(once, options))
    end
  end)

  it(
    "keeps offsets with typographic marks",
    function()
      assert.equal(
        "“[NAME]” – [NAME]’s mail: «[EMAIL]»",
        masked("“Anna Keller” – Anna’s mail: «anna@example.org»")
      )
    end
  )
end)

describe("a matcher", function()
  it("keeps nothing of a text, and no options of another", function()
    local one = personal_data.matcher { users = { "zorbo77" }, names = { "Falkenrath" } }
    local other = personal_data.matcher { users = { "mel_ody" }, kinds = { "USER", "PHONE" } }
    local text = "Falkenrath: zorbo77 met mel_ody, +49 30 901820"
    for _ = 1, 2 do
      assert.equal("[NAME]: [USER] met mel_ody, [PHONE]", (one:mask(text)))
      assert.equal("Falkenrath: zorbo77 met [USER], [PHONE]", (other:mask(text)))
      assert.equal("is Okafor right?", (one:mask("is Okafor right?")))
      assert.equal(
        "Dear Dr [NAME], is [NAME] right?",
        (one:mask("Dear Dr Okafor, is Okafor right?"))
      )
    end
  end)

  it("searches one text in the midst of another", function()
    local matcher = personal_data.matcher()
    local text, other = "I asked Anna Keller, +49 30 901820", "Walsh, Patricia has 84.172.19.203"
    local wanted, wanted_other = matcher:find(text), matcher:find(other)
    local times, found_other = 0, nil
    debug.sethook(function()
      times = times + 1
      found_other = matcher:find(other)
    end, "", 20)
    local found = matcher:find(text)
    debug.sethook()
    assert.is_true(times > 20)
    assert.same(wanted, found)
    assert.same(wanted_other, found_other)
  end)
end)

describe("word lists", function()
  it("have sections of words, comments apart", function()
    local lists = word_lists.parse("# head\n[one]\na b\n\n# [no]\n c\n[two]\nÖl\n", "x.txt")
    assert.same({ one = { a = true, b = true, c = true }, two = { ["Öl"] = true } }, lists)
  end)

  it("that are missing are named", function()
    for message, wrong in pairs {
      ["lists/nowhere.txt': No such file"] = function() return word_lists.read("nowhere") end,
      ["lists/user_names.txt has no section [titles]"] = function()
        return word_lists.read("user_names").titles
      end,
      ['x.txt has the word "lost" above its first section'] = function()
        return word_lists.parse("# head\nlost\n[one]\n", "x.txt")
      end,
    } do
      local ok, said = pcall(wrong)
      assert.is_false(ok)
      assert.truthy(said:find(message, 1, true), said)
    end
  end)

  it("say at their heads where they come from", function()
    local module = assert(package.searchpath("perilune.rules.personal.word_lists", package.path))
    local folder, files = module:gsub("word_lists%.lua$", "lists/"), 0
    for name in lfs.dir(folder) do
      if name:find("%.txt$") then
        local file <close> = assert(io.open(folder .. name))
        local head = file:read("a"):match("^(.-)%[")
        assert.truthy(head:find("Source:", 1, true), name)
        files = files + 1
      end
    end
    assert.is_true(files >= 8)
  end)
end)

describe("user names", function()
  local options =
    { kinds = { "USER" }, users = { "zorbo77", "Table", "mel.ody", "[vex]", "x1", "Ëlf" } }

  it("count as whole tokens in any case", function()
    assert.equal(
      "[USER]: so [USER], not zorbo778 or azorbo77",
      masked("ZORBO77: so zorbo77, not zorbo778 or azorbo77", options)
    )
    assert.equal("<[USER]> [USER] ([USER])'s", masked("<zorbo77> mel.ody (Mel.Ody)'s", options))
    assert.equal("[USER] and vex, vexed", masked("[vex] and vex, vexed", options))
    assert.equal("[USER]-laptop", masked("zorbo77-laptop", options))
  end)

  it("that are words count only where someone is addressed", function()
    for text, wanted in pairs {
      ["table: look"] = "[USER]: look",
      ["a table: look"] = "a table: look",
      ["table, look"] = "[USER], look",
      ["@table look"] = "@[USER] look",
      ["<table> hm"] = "<[USER]> hm",
      ["thanks table"] = "thanks [USER]",
      ["thanks table is set"] = "thanks table is set",
      ["one\ntable: two"] = "one\n[USER]: two",
      ["x1 and y"] = "x1 and y",
      ["x1: hi"] = "[USER]: hi",
      ["on the table"] = "on the table",
    } do
      assert.equal(wanted, masked(text, options))
    end
  end)
end)

describe("user names that are words", function()
  local log = {
    "tritium: how do I do it?",
    "tritium, and then?",
    "thanks tritium",
    "use tritium",
    "wb tritium",
    "will: are you there?",
    "will it work? it will",
    "hundred: one",
    "a hundred",
  }
  local names = { "tritium", "will", "hundred", "zorbo77" }

  local function texts()
    local at = 0
    return function()
      at = at + 1
      return log[at]
    end
  end

  it(
    "are told to be names by their use in the log",
    function() assert.are.same({ "tritium" }, personal_data.users_by_use(texts(), names)) end
  )

  it("then count anywhere", function()
    local without = { users = names }
    assert.are.equal("ask tritium about it", masked("ask tritium about it", without))
    local with = { users = names, users_by_use = personal_data.users_by_use(texts(), names) }
    assert.are.equal("ask [USER] about it", masked("ask tritium about it", with))
    assert.are.equal("it will work", masked("it will work", with))
  end)

  it("stand beside symbols and marks of byte order", function()
    local options = { users = names }
    assert.are.equal("\u{FEFF}[USER]: cheers", masked("\u{FEFF}zorbo77: cheers", options))
    assert.are.equal("[USER]\u{2765} you could", masked("zorbo77\u{2765} you could", options))
  end)
end)

describe("the recipe's names", function()
  it("count anywhere; words only with a capital", function()
    local options = { names = { "Falkenrath", "Brightwater Jones", "Stone" } }
    assert.equal(
      "[NAME] met [NAME]. A stone for [NAME].",
      masked("falkenrath met brightwater Jones. A stone for Stone.", options)
    )
    assert.equal("the [NAME]'s desk", masked("the Brightwater Jones's desk", options))
  end)
end)

describe("hostile text", function()
  local units = {
    "a",
    "A",
    "1",
    " ",
    "\n",
    ".",
    "@",
    ":",
    "/",
    "-",
    "'",
    '"',
    "(",
    "+",
    "\195",
    "\226\128\153",
    "a@",
    "@a",
    "a@a.",
    "a.a",
    "1.1.1.",
    "1.",
    "1 ",
    "1-",
    "12 ",
    "1234 ",
    "123-",
    "+1 ",
    "(1) ",
    "00",
    "AA11",
    "AA11 ",
    "GB11 ",
    "DE32 9458 ",
    "X1",
    "a1",
    "1a",
    "::",
    ":a",
    "a:",
    "1:",
    "://",
    "a://",
    "http://a?b=",
    "http://a:b@",
    "a=b&",
    "/a",
    "Anna ",
    "Anna, ",
    "Anna",
    "A. ",
    "A.",
    "Mr ",
    "Mr. ",
    "my name is ",
    "I'm ",
    "Regards, ",
    "Regards,\n",
    "Rose ",
    "Will ",
    "van der ",
    "Keller ",
    "X Keller ",
    "12 Rose ",
    "12 rue ",
    "1 Street ",
    "Flat 1, ",
    "P.O. Box ",
    "call 1234567 ",
    "zorbo77",
    "zorbo77 ",
    "zorbo77-",
    "table ",
    "thanks ",
    "[",
    "]",
    "a at b dot ",
    " dot ",
    "dot",
    "passport ",
    "passport A1",
    "A1B2C3",
    "1,",
    "Falkenrath ",
    "Brightwater ",
    "sk-",
    "a1B2_",
    "0123456789abcde ",
    "0123456789abcdef=",
    "eyJ0a.",
    "token=a1b2c3d4e5f60718 ",
    "Bearer ",
    "3c:52:",
    "3c-52-",
    "3c52.",
    "-----BEGIN PRIVATE KEY-----",
    "-----END PRIVATE KEY-----",
    "-----BEGIN A",
  }
  local matcher = personal_data.matcher {
    users = { "zorbo77", "table", "a.b" },
    names = { "Falkenrath", "Brightwater Jones" },
  }

  -- What each search waits for, so that it runs over the unit's text as well.
  local GATES <const> = " @ a@b.co x://y?z=1 :: 1 12345678 Anna dot passport zorbo77 "
    .. "a0123456789012345-----x PRIVATE KEY-----"

  -- Instructions of the interpreter, in hundreds.
  local function instructions(text)
    local n = 0
    debug.sethook(function() n = n + 1 end, "", 100)
    matcher:mask(text)
    debug.sethook()
    return n
  end

  -- Work inside the pattern matcher is no instruction: the clock sees it. The lesser of two runs.
  local function seconds(text)
    local least = math.huge
    for _ = 1, 2 do
      local start = os.clock()
      matcher:mask(text)
      least = math.min(least, os.clock() - start)
    end
    return least
  end

  local function of_size(unit, size) return unit:rep(size // #unit) end

  it("costs less than three times the instructions at twice the length", function()
    for _, unit in ipairs(units) do
      local half, whole = instructions(of_size(unit, 6000)), instructions(of_size(unit, 12000))
      assert.is_true(whole < 3 * half + 10, ("%q: %d, %d"):format(unit, half, whole))
    end
  end)

  it("costs less than sixteen times the time at eight times the length", function()
    local texts = {}
    for _, unit in ipairs(units) do
      texts[#texts + 1] = { unit, "" }
      texts[#texts + 1] = { unit, GATES }
    end
    for _, case in ipairs(texts) do
      local unit, tail = case[1], case[2]
      local short, long = of_size(unit, 2000) .. tail, of_size(unit, 16000) .. tail
      local ratio
      for _ = 1, 4 do -- others share the machine: one good measurement is enough
        ratio = seconds(long) / (seconds(short) + 0.0002)
        if ratio < 16 then break end
      end
      assert.is_true(ratio < 16, ("%q %q: %.1f"):format(unit, tail, ratio))
    end
  end)

  it("would be caught: a pattern that backtracks is over both bounds", function()
    local function backtracking(text) return text:find("a+a+b") end
    local function clock(text)
      local start = os.clock()
      backtracking(text)
      return os.clock() - start
    end
    assert.is_true(clock(of_size("a", 1600)) / clock(of_size("a", 200)) > 16)
  end)
end)

describe("the rule", function()
  local function run(list, given)
    local kept = {}
    local rows, report = rules.run(list, { personal_data.rule(given) })
    for row in rows do
      kept[#kept + 1] = row
    end
    return kept, report[1]
  end

  local function rows()
    return {
      { prompt = "I asked Anna Keller", user_id = "u1", side = "train" },
      { prompt = "mail anna@example.org", side = "valid", completion = "Dear Anna," },
      { prompt = "nothing here", side = "train" },
      {
        messages = {
          { role = "system", content = "Be kind to Olga" },
          { role = "user", content = "hi" },
        },
        completion = "Call Ingrid",
        completions = { "Ingrid", "nobody" },
        ranks = { 1, 2 },
      },
    }
  end

  it("masks the train side and rows of no side, every text, and leaves its input alone", function()
    local input = rows()
    local kept, report = run(input, nil)
    assert.same({ 4, 4, 2 }, { report.rows_in, report.rows_out, report.changed })
    assert.equal("I asked [NAME]", kept[1].prompt)
    assert.equal("u1", kept[1].user_id)
    assert.equal(input[2], kept[2])
    assert.equal("mail anna@example.org", kept[2].prompt)
    assert.equal(input[3], kept[3])
    assert.equal("Be kind to [NAME]", kept[4].messages[1].content)
    assert.equal("system", kept[4].messages[1].role)
    assert.equal("Call [NAME]", kept[4].completion)
    assert.same({ "[NAME]", "nobody" }, kept[4].completions)
    assert.same({ "personal_data: masked name" }, kept[1].changes)
    assert.same(rows()[4].messages, input[4].messages)
    assert.equal("Call Ingrid", input[4].completion)
  end)

  it("drops with the kinds for a reason", function()
    local kept, report = run(rows(), { action = "drop", sides = false })
    assert.equal(1, #kept)
    assert.same({ ["personal data: name"] = 2, ["personal data: email, name"] = 1 }, report.reasons)
  end)

  it("flags without touching the text", function()
    local kept = run(rows(), { action = "flag", sides = { "valid" } })
    assert.is_nil(kept[1].extra)
    assert.same({ EMAIL = 1, NAME = 1 }, kept[2].extra.personal_data)
    assert.equal("mail anna@example.org", kept[2].prompt)
  end)

  it("asks a function for the users once, when the first row arrives", function()
    local calls = 0
    local rule = personal_data.rule {
      users = function()
        calls = calls + 1
        return { "zorbo77" }
      end,
    }
    assert.equal(0, calls)
    local out = rules.run({ { prompt = "zorbo77 left" }, { prompt = "no zorbo77" } }, { rule })
    assert.equal("[USER] left", out().prompt)
    assert.equal("no [USER]", out().prompt)
    assert.equal(1, calls)
  end)

  it("names a wrong setting", function()
    for message, given in pairs {
      ['action = "masks"; it must be "mask" or "drop" or "flag"'] = { action = "masks" },
      ["`users` is a table, not a string"] = { users = "zorbo77" },
      ["personal_data has no option 'side'"] = { side = { "train" } },
    } do
      local ok, said = pcall(personal_data.rule, given)
      assert.is_false(ok)
      assert.truthy(tostring(said):find(message, 1, true), tostring(said))
    end
  end)
end)

describe("a log", function()
  --- Masks what was said: how many nicks that are no common words stood there, how many still do.
  local function nicks_in(lines)
    local nicks, said = {}, {}
    for _, line in ipairs(lines) do
      local nick, text = line:match("^%[[%d:]+%] <([^>]+)> (.*)$")
      if nick then
        nicks[nick], said[#said + 1] = true, text
      end
    end
    local list = {}
    for nick in pairs(nicks) do
      list[#list + 1] = nick
    end
    local users = UserNames.new(list)
    local matcher = personal_data.matcher { users = list }
    local before, left = 0, 0
    for _, text in ipairs(said) do
      local function strong(t)
        local n = 0
        for token in t:lower():gmatch("[%w_%[%]{}\\`^|\128-\255-]+") do
          n = n + (users.tokens[token] == 1 and 1 or 0)
        end
        return n
      end
      before, left = before + strong(text), left + strong((matcher:mask(text)))
    end
    return before, left, #list, #said
  end

  it("of the test's own has no nick left that is no common word", function()
    local before, left, users, texts = nicks_in {
      "[10:01] <zarquon> hello all, is kde-fan_7 here?",
      "[10:01] <kde-fan_7> zarquon: yes; ask |Merlin| or `tux42, not me",
      "[10:02] *** plonk42 joined",
      "[10:02] <|Merlin|> KDE-FAN_7, Zarquon: it is (zarquon's) disk; `tux42 knows...",
      "[10:03] <`tux42> ok",
      "[10:03] <zarquon> thanks |Merlin|!",
    }
    assert.same({ 9, 0, 4, 5 }, { before, left, users, texts })
  end)

  it("of a real channel has none either", function()
    local path = "../shared/data/logs/irc-ubuntu/2004-12-25.train-c.raw.txt"
    if not require("lfs").attributes(path) then
      pending(path .. " is absent")
      return
    end
    local lines = {}
    for line in io.lines(path) do
      lines[#lines + 1] = line
    end
    local before, left, users, texts = nicks_in(lines)
    assert.is_true(users > 50 and texts > 500 and before > 100)
    assert.equal(0, left)
  end)
end)
