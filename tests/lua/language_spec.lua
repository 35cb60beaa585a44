--- The language rule: sentences it never saw, by language; scripts; short text; code; settings.

local language = require("perilune.rules.language")
local rules = require("perilune.rules")

-- Held out: none of these is in the samples, nor was the identifier fitted to them (TEMPER was set
-- by how many lines of an English chat log came out as something else).
local HELD_OUT <const> = {
  en = {
    "Where did you put the scissors?",
    "The train to the airport leaves every half hour.",
    "She forgot her umbrella in the office again.",
    "Explain how a refrigerator works.",
    "I need three ideas for a school project about volcanoes.",
    "What time does the shop close?",
    "Rewrite this paragraph in a more formal style.",
    "My cat refuses to eat dry food.",
    "Nobody told us that the concert was cancelled.",
    "anyone got wireless going with this card",
    "is there a way to undo the last commit",
    "The soup needs more salt.",
  },
  de = {
    "Wo hast du die Schere hingelegt?",
    "Der Zug zum Flughafen fährt jede halbe Stunde.",
    "Sie hat ihren Regenschirm wieder im Büro vergessen.",
    "Erkläre, wie ein Kühlschrank arbeitet.",
    "Ich brauche drei Ideen für ein Schulprojekt über Vulkane.",
    "Wann schließt der Laden?",
    "Meine Katze will kein Trockenfutter fressen.",
    "Die Suppe braucht mehr Salz.",
    "Niemand hat uns gesagt, dass das Konzert ausfällt.",
    "kann mir bitte einer helfen mit dem treiber",
  },
  fr = {
    "Où as-tu mis les ciseaux ?",
    "Le train pour l'aéroport part toutes les demi-heures.",
    "Elle a encore oublié son parapluie au bureau.",
    "Explique comment fonctionne un réfrigérateur.",
    "J'ai besoin de trois idées pour un projet sur les volcans.",
    "À quelle heure ferme le magasin ?",
    "Mon chat refuse de manger des croquettes.",
    "La soupe manque de sel.",
    "Personne ne nous a dit que le concert était annulé.",
    "bonjour j'ai un souci avec mon pilote",
  },
  es = {
    "¿Dónde pusiste las tijeras?",
    "El tren al aeropuerto sale cada media hora.",
    "Ella olvidó otra vez su paraguas en la oficina.",
    "Explica cómo funciona un frigorífico.",
    "Necesito tres ideas para un proyecto sobre volcanes.",
    "¿A qué hora cierra la tienda?",
    "Mi gato se niega a comer pienso seco.",
    "A la sopa le falta sal.",
    "Nadie nos avisó de que habían cancelado el concierto.",
    "hola tengo un problema con la tarjeta",
  },
  it = {
    "Dove hai messo le forbici?",
    "Il treno per l'aeroporto parte ogni mezz'ora.",
    "Ha dimenticato di nuovo l'ombrello in ufficio.",
    "Spiega come funziona un frigorifero.",
    "Mi servono tre idee per un progetto sui vulcani.",
    "A che ora chiude il negozio?",
    "Il mio gatto non vuole mangiare i croccantini.",
    "Nella minestra manca il sale.",
    "Nessuno ci ha detto che il concerto era annullato.",
    "ciao ho un problema con la scheda video",
  },
  pt = {
    "Onde você colocou a tesoura?",
    "O comboio para o aeroporto parte a cada meia hora.",
    "Ela esqueceu outra vez o guarda-chuva no escritório.",
    "Explique como funciona uma geladeira.",
    "Preciso de três ideias para um projeto sobre vulcões.",
    "A que horas fecha a loja?",
    "O meu gato não quer comer ração seca.",
    "Falta sal na sopa.",
    "Ninguém nos avisou que o concerto foi cancelado.",
    "olá estou com um problema na placa de som",
  },
  nl = {
    "Waar heb je de schaar neergelegd?",
    "De trein naar het vliegveld vertrekt elk half uur.",
    "Ze heeft haar paraplu weer op kantoor vergeten.",
    "Leg uit hoe een koelkast werkt.",
    "Ik heb drie ideeën nodig voor een werkstuk over vulkanen.",
    "Hoe laat sluit de winkel?",
    "Mijn kat weigert droogvoer te eten.",
    "Er moet meer zout in de soep.",
    "Niemand vertelde ons dat het concert was afgelast.",
    "hallo wie kan me helpen met mijn geluidskaart",
  },
  sv = {
    "Var har du lagt saxen?",
    "Tåget till flygplatsen går varje halvtimme.",
    "Hon glömde sitt paraply på kontoret igen.",
    "Förklara hur ett kylskåp fungerar.",
    "Jag behöver tre idéer till ett skolarbete om vulkaner.",
    "När stänger affären?",
    "Min katt vägrar att äta torrfoder.",
    "Soppan behöver mer salt.",
    "Ingen sade till oss att konserten var inställd.",
    "hej kan någon hjälpa mig med ljudkortet",
  },
  cs = {
    "Kam jsi dal nůžky?",
    "Vlak na letiště jezdí každou půlhodinu.",
    "Zapomněla deštník zase v kanceláři.",
    "Vysvětli, jak funguje lednička.",
    "Potřebuji tři nápady na školní projekt o sopkách.",
    "V kolik hodin zavírají obchod?",
    "Moje kočka odmítá jíst granule.",
    "Do polévky je třeba přidat sůl.",
    "Nikdo nám neřekl, že koncert je zrušený.",
    "ahoj mám problém s ovladačem grafické karty",
  },
  pl = {
    "Gdzie położyłeś nożyczki?",
    "Pociąg na lotnisko odjeżdża co pół godziny.",
    "Znowu zapomniała parasola w biurze.",
    "Wyjaśnij, jak działa lodówka.",
    "Potrzebuję trzech pomysłów na projekt o wulkanach.",
    "O której zamykają sklep?",
    "Mój kot nie chce jeść suchej karmy.",
    "W zupie brakuje soli.",
    "Nikt nam nie powiedział, że koncert odwołano.",
    "czy ktos pomoze mi ze sterownikiem dzwieku",
  },
  ru = {
    "Куда ты положил ножницы?",
    "Поезд в аэропорт отправляется каждые полчаса.",
    "Она снова забыла зонтик на работе.",
    "Объясни, как устроен холодильник.",
    "Мне нужны три идеи для проекта о вулканах.",
    "Во сколько закрывается магазин?",
    "Моя кошка отказывается есть сухой корм.",
    "В супе не хватает соли.",
    "Никто не предупредил нас, что концерт отменили.",
    "помогите пожалуйста настроить звук",
  },
  uk = {
    "Куди ти поклав ножиці?",
    "Потяг до аеропорту відправляється кожні пів години.",
    "Вона знову забула парасольку в офісі.",
    "Поясни, як працює холодильник.",
    "Мені потрібні три ідеї для проєкту про вулкани.",
    "О котрій зачиняється крамниця?",
    "Моя кішка відмовляється їсти сухий корм.",
    "У супі бракує солі.",
    "Ніхто не попередив нас, що концерт скасували.",
    "допоможіть будь ласка налаштувати звук",
  },
  tr = {
    "Makası nereye koydun?",
    "Havaalanı treni her yarım saatte bir kalkıyor.",
    "Şemsiyesini yine ofiste unutmuş.",
    "Buzdolabının nasıl çalıştığını açıkla.",
    "Yanardağlar hakkında bir ödev için üç fikre ihtiyacım var.",
    "Dükkân saat kaçta kapanıyor?",
    "Kedim kuru mama yemeyi reddediyor.",
    "Çorbanın tuzu eksik.",
    "Konserin iptal edildiğini bize kimse söylemedi.",
    "merhaba ses kartım için yardım lazım",
  },
}

local SCRIPTS <const> = {
  el = "Πού έβαλες το ψαλίδι;",
  he = "איפה שמת את המספריים?",
  ar = "أين وضعت المقص؟",
  hi = "तुमने कैंची कहाँ रखी?",
  th = "คุณวางกรรไกรไว้ที่ไหน",
  ko = "가위를 어디에 두었어요?",
  ja = "はさみをどこに置きましたか",
  zh = "你把剪刀放在哪里了",
}

describe("language", function()
  it("tells at least 95 % of the held-out sentences, at least 80 % in each language", function()
    local right, wrong, sure_and_wrong = 0, {}, 0
    for name, list in pairs(HELD_OUT) do
      assert.is_true(#list >= 10)
      local here = 0
      for _, sentence in ipairs(list) do
        local told, confidence, best = language.identify(sentence)
        here = here + (best == name and 1 or 0)
        if best ~= name then
          wrong[#wrong + 1] = ("%s as %s %.2f: %s"):format(name, best, confidence, sentence)
        end
        if told ~= name and told ~= "unknown" then sure_and_wrong = sure_and_wrong + 1 end
      end
      right = right + here
      assert.is_true(here / #list >= 0.8, ("%s: %d of %d"):format(name, here, #list))
    end
    assert.is_true(right >= 0.95 * (right + #wrong), table.concat(wrong, "\n"))
    assert.is_true(sure_and_wrong <= 2, table.concat(wrong, "\n"))
  end)

  it("would be at chance with the languages' names moved on by one", function()
    local names = language.known()
    local right, all = 0, 0
    for i, name in ipairs(names) do
      for _, sentence in ipairs(HELD_OUT[names[i % #names + 1]]) do
        local _, _, best = language.identify(sentence)
        right, all = right + (best == name and 1 or 0), all + 1
      end
    end
    assert.is_true(right / all < 0.1)
  end)

  it("tells scripts of one language by themselves", function()
    for name, sentence in pairs(SCRIPTS) do
      assert.equal(name, (language.identify(sentence)))
    end
    assert.equal("ja", (language.identify("東京都の天気は")))
    assert.equal("en", (language.identify("What does the word 안녕 mean in this long sentence?")))
  end)

  it("gives no language to text with letters that it does not have", function()
    for sentence, passed_for in pairs {
      ["Unde ai pus foarfeca și de ce nu este în sertar?"] = "pt", -- Romanian
      ["Han købte æbler og brød på torvet, fordi køleskabet var tomt."] = "sv", -- Danish
      ["Hová tetted az ollót, amelyet tegnap este a fiókból vettél elő? Őrült idő."] = "sv",
    } do
      local told, _, best = language.identify(sentence)
      assert.same({ "unknown", passed_for }, { told, best })
    end
    assert.equal(
      "de",
      (language.identify("Die Brücke über die Moldau heißt auf Tschechisch most."))
    )
  end)

  it("calls short text and code unknown", function()
    for _, text in ipairs { "", "ok", "lol yes", "12345", "???", "\255\254\128" } do
      assert.equal("unknown", (language.identify(text)))
    end
    local name, _, why = language.identify("for (int i = 0; i < n; ++i) { sum += a[i] * b[i]; }")
    assert.same({ "unknown", "code" }, { name, why })
  end)

  it("has posteriors for confidence, and more of it for more text", function()
    local _, little = language.identify("the last one is", 0)
    local _, much = language.identify("the last one is the best of all that we have seen", 0)
    assert.is_true(little > 1 / 12 and little < much and much <= 1)
    assert.equal("unknown", (language.identify("the last one is the best", 1.1)))
  end)

  it("drops other languages with the reason and keeps the unknown unless told", function()
    local list = {
      { prompt = "Where did you put the scissors last night?" },
      { prompt = "Wo hast du gestern Abend die Schere hingelegt?" },
      { prompt = "lol" },
      {
        messages = {
          { role = "system", content = "Wo hast du die Schere hingelegt?" },
          { role = "user", content = "The train leaves every half hour." },
        },
      },
    }
    local function run(given)
      local kept = {}
      local rows, report = rules.run(list, { language.rule(given) })
      for row in rows do
        kept[#kept + 1] = row.prompt or "messages"
      end
      return kept, report[1].reasons
    end
    local kept, reasons = run(nil)
    assert.same({ list[1].prompt, "lol", "messages" }, kept)
    assert.same({ ["language de"] = 1 }, reasons)
    kept, reasons = run { keep = { "de" }, unknown = "drop" }
    assert.same({ list[2].prompt }, kept)
    assert.same({ ["language en"] = 2, ["language unknown"] = 1 }, reasons)
  end)

  it("names a wrong setting", function()
    assert.has_error(
      function() language.rule { keep = {} } end,
      'language: `keep` must be a list of languages such as {"en"}'
    )
    local ok, message = pcall(language.rule, { keep = { "english" } })
    assert.is_false(ok)
    assert.truthy(
      message:find('no language "english"; there are am, ar, bn, bo, chr, cs, de', 1, true)
    )
    ok, message = pcall(language.rule, { keeps = { "en" } })
    assert.is_false(ok)
    assert.truthy(message:find("language has no option 'keeps'", 1, true))
  end)

  it("reads a bounded part of a text, in bounded work", function()
    local text = ("The house on the hill is old. "):rep(4000)
    local function instructions(size)
      local n = 0
      debug.sethook(function() n = n + 1 end, "", 1000)
      language.identify(text:sub(1, size))
      debug.sethook()
      return n
    end
    language.identify(text)
    assert.is_true(instructions(100000) <= 1.2 * instructions(10000) + 5)
  end)
end)
