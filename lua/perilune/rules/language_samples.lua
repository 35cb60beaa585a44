--- Sample text from which the language rule learns, by ISO 639-1 code. Written for this purpose.
--
-- Plain talk of the kind that users write to an assistant, with the small words of the language;
-- about two thousand letters each, so that no language is favoured. Names, numbers and words of
-- other languages are left out.

return {
  en = [[
How can I make the bread rise when the kitchen is cold? I would like to know what you think
about this question, because my friends all gave me different answers. Please write a short
letter to the owner of the house and tell him that the heating has not worked since last
week. It was raining when we came out of the station, so we took a taxi and arrived just
before eight. The children were playing in the garden while their mother was reading the
newspaper. Could you explain the difference between these two words and give me some
examples? There should be enough money for everybody, but nobody knows where it is kept. She
has been working there for many years and she still does not understand the rules. If you
want to learn something new, you have to try every day and you must not be afraid of making
mistakes. What is the best way to clean the windows without leaving marks? They said that
they would bring their own chairs and that we could use the large room upstairs. I have
never seen such a beautiful morning, with the light falling through the trees. Which of
these books should I read first? He thought about it for a while and then he shook his head.
You can find the answer at the end of the second chapter. Does anyone know how to get the
sound working again after the update? My computer will not start and the screen stays black.
Thank you very much for your help, it works now. Give me a list of things to do on the
weekend with the family. The old man looked through the window and saw that the night had
already come. We might go to the beach tomorrow, though the weather is not very good. Why do
people always talk about the same things? It would be great if someone could show me which
file I should change. I think that is right, but let me check it once more. Those who were
there that day will remember what happened. This should be done with great care. Tell a
story about a dog who wants to fly. Yes, that was my fault, sorry about the mess. Are you
sure that it is the right one? Just type the name and press the key.
]],
  de = [[
Wie kann ich das Brot aufgehen lassen, wenn es in der Küche kalt ist? Ich möchte gerne
wissen, was du über diese Frage denkst, weil meine Freunde mir alle verschiedene Antworten
gegeben haben. Bitte schreibe einen kurzen Brief an den Besitzer des Hauses und sage ihm,
dass die Heizung seit letzter Woche nicht mehr geht. Es regnete, als wir aus dem Bahnhof
kamen, also nahmen wir ein Taxi und kamen kurz vor acht an. Die Kinder spielten im Garten,
während ihre Mutter die Zeitung las. Könntest du mir den Unterschied zwischen diesen beiden
Wörtern erklären und einige Beispiele nennen? Es sollte genug Geld für alle da sein, aber
niemand weiß, wo es aufbewahrt wird. Sie arbeitet schon seit vielen Jahren dort und versteht
die Regeln immer noch nicht. Wenn man etwas Neues lernen will, muss man es jeden Tag
versuchen und darf keine Angst vor Fehlern haben. Was ist der beste Weg, die Fenster zu
putzen, ohne Streifen zu hinterlassen? Sie sagten, dass sie ihre eigenen Stühle mitbringen
würden und dass wir den großen Raum oben benutzen könnten. Ich habe noch nie einen so
schönen Morgen gesehen. Welches von diesen Büchern soll ich zuerst lesen? Er dachte eine
Weile darüber nach und schüttelte dann den Kopf. Mein Rechner startet nicht und der
Bildschirm bleibt schwarz. Vielen Dank für deine Hilfe, jetzt funktioniert es. Gib mir eine
Liste von Dingen, die man am Wochenende mit der Familie machen kann. Der alte Mann sah durch
das Fenster und merkte, dass es schon Nacht geworden war. Vielleicht fahren wir morgen ans
Meer, obwohl das Wetter nicht sehr gut ist. Warum reden die Leute immer über dieselben
Sachen? Es wäre toll, wenn mir jemand zeigen könnte, welche Datei ich ändern muss. Ich
glaube, das stimmt, aber lass mich noch einmal nachsehen. Erzähle eine Geschichte über einen
Hund, der fliegen will. Ja, das war meine Schuld, tut mir leid. Bist du sicher, dass es das
richtige ist? Gibt es hier jemanden, der mir sagen kann, wie das geht?
]],
  fr = [[
Comment faire lever le pain quand il fait froid dans la cuisine ? Je voudrais savoir ce que
vous pensez de cette question, parce que mes amis m'ont tous donné des réponses différentes.
Écris une courte lettre au propriétaire de la maison et dis-lui que le chauffage ne marche
plus depuis la semaine dernière. Il pleuvait quand nous sommes sortis de la gare, alors nous
avons pris un taxi et nous sommes arrivés juste avant huit heures. Les enfants jouaient dans
le jardin pendant que leur mère lisait le journal. Pourriez-vous expliquer la différence
entre ces deux mots et me donner quelques exemples ? Il devrait y avoir assez d'argent pour
tout le monde, mais personne ne sait où il est gardé. Elle travaille là depuis plusieurs
années et elle ne comprend toujours pas les règles. Si tu veux apprendre quelque chose de
nouveau, il faut essayer chaque jour et ne pas avoir peur de faire des fautes. Quelle est la
meilleure façon de nettoyer les fenêtres sans laisser de traces ? Ils ont dit qu'ils
apporteraient leurs propres chaises et que nous pouvions utiliser la grande salle en haut.
Je n'ai jamais vu un si beau matin, avec la lumière qui tombe à travers les arbres. Lequel
de ces livres dois-je lire en premier ? Il y pensa un moment, puis il secoua la tête. Mon
ordinateur ne démarre plus et l'écran reste noir. Merci beaucoup pour votre aide, ça marche
maintenant. Donne-moi une liste de choses à faire le week-end avec la famille. Le vieil
homme regarda par la fenêtre et vit que la nuit était déjà tombée. Nous irons peut-être à la
plage demain, bien que le temps ne soit pas très bon. Pourquoi les gens parlent-ils toujours
des mêmes choses ? Ce serait bien si quelqu'un pouvait me montrer quel fichier il faut
changer. Je crois que c'est juste, mais laisse-moi vérifier encore une fois. Raconte une
histoire sur un chien qui veut voler. Oui, c'était ma faute, désolé. Est-ce que tu es sûr
que c'est le bon ? Qu'est-ce qu'on mange ce soir ?
]],
  es = [[
¿Cómo puedo hacer que suba el pan cuando hace frío en la cocina? Quisiera saber qué piensas
sobre esta pregunta, porque mis amigos me dieron respuestas diferentes. Por favor, escribe
una carta corta al dueño de la casa y dile que la calefacción no funciona desde la semana
pasada. Llovía cuando salimos de la estación, así que tomamos un taxi y llegamos justo antes
de las ocho. Los niños jugaban en el jardín mientras su madre leía el periódico. ¿Podrías
explicar la diferencia entre estas dos palabras y darme algunos ejemplos? Debería haber
suficiente dinero para todos, pero nadie sabe dónde está guardado. Ella trabaja allí desde
hace muchos años y todavía no entiende las reglas. Si quieres aprender algo nuevo, tienes
que intentarlo todos los días y no debes tener miedo de equivocarte. ¿Cuál es la mejor
manera de limpiar las ventanas sin dejar marcas? Dijeron que traerían sus propias sillas y
que podíamos usar la sala grande de arriba. Nunca he visto una mañana tan hermosa, con la
luz cayendo entre los árboles. ¿Cuál de estos libros debo leer primero? Lo pensó un rato y
luego negó con la cabeza. Mi ordenador no arranca y la pantalla se queda negra. Muchas
gracias por tu ayuda, ahora funciona. Dame una lista de cosas que se pueden hacer el fin de
semana con la familia. El viejo miró por la ventana y vio que ya había llegado la noche.
Quizás vayamos mañana a la playa, aunque el tiempo no es muy bueno. ¿Por qué la gente habla
siempre de las mismas cosas? Sería estupendo si alguien pudiera mostrarme qué archivo hay
que cambiar. Creo que es correcto, pero déjame comprobarlo otra vez. Cuenta una historia
sobre un perro que quiere volar. Sí, fue culpa mía, lo siento. ¿Estás seguro de que es el
correcto? ¿Hay alguien aquí que me pueda decir cómo se hace? No tengo ni idea de lo que ha
pasado, pero ya no se puede abrir.
]],
  it = [[
Come posso far lievitare il pane quando in cucina fa freddo? Vorrei sapere che cosa pensi di
questa domanda, perché i miei amici mi hanno dato tutti risposte diverse. Per favore scrivi
una breve lettera al padrone della casa e digli che il riscaldamento non funziona più dalla
settimana scorsa. Pioveva quando siamo usciti dalla stazione, così abbiamo preso un taxi e
siamo arrivati poco prima delle otto. I bambini giocavano nel giardino mentre la loro madre
leggeva il giornale. Potresti spiegare la differenza tra queste due parole e darmi qualche
esempio? Dovrebbe esserci abbastanza denaro per tutti, ma nessuno sa dove viene tenuto. Lei
lavora lì da molti anni e ancora non capisce le regole. Se vuoi imparare qualcosa di nuovo,
devi provare ogni giorno e non devi avere paura di sbagliare. Qual è il modo migliore per
pulire le finestre senza lasciare segni? Hanno detto che avrebbero portato le loro sedie e
che potevamo usare la grande stanza di sopra. Non ho mai visto una mattina così bella, con
la luce che cadeva tra gli alberi. Quale di questi libri devo leggere per primo? Ci pensò
per un po' e poi scosse la testa. Il mio computer non si avvia e lo schermo rimane nero.
Grazie mille per il tuo aiuto, adesso funziona. Dammi un elenco di cose da fare nel fine
settimana con la famiglia. Il vecchio guardò dalla finestra e vide che la notte era già
arrivata. Forse domani andremo al mare, anche se il tempo non è molto bello. Perché la gente
parla sempre delle stesse cose? Sarebbe bello se qualcuno potesse mostrarmi quale file
bisogna cambiare. Credo che sia giusto, ma fammi controllare ancora una volta. Racconta una
storia su un cane che vuole volare. Sì, è stata colpa mia, mi dispiace. Sei sicuro che sia
quello giusto? C'è qualcuno qui che mi può dire come si fa? Non so che cosa sia successo, ma
non si apre più.
]],
  pt = [[
Como posso fazer o pão crescer quando está frio na cozinha? Eu gostaria de saber o que você
pensa sobre esta pergunta, porque os meus amigos me deram respostas diferentes. Por favor,
escreva uma carta curta ao dono da casa e diga que o aquecimento não funciona desde a semana
passada. Chovia quando saímos da estação, então tomamos um táxi e chegamos pouco antes das
oito. As crianças brincavam no jardim enquanto a mãe lia o jornal. Você poderia explicar a
diferença entre estas duas palavras e me dar alguns exemplos? Deveria haver dinheiro
suficiente para todos, mas ninguém sabe onde ele está guardado. Ela trabalha lá há muitos
anos e ainda não entende as regras. Se quiser aprender alguma coisa nova, tem de tentar
todos os dias e não deve ter medo de errar. Qual é a melhor maneira de limpar as janelas sem
deixar marcas? Eles disseram que iam trazer as suas próprias cadeiras e que nós podíamos
usar a sala grande de cima. Nunca vi uma manhã tão bonita, com a luz caindo entre as
árvores. Qual destes livros devo ler primeiro? Ele pensou um pouco e depois abanou a cabeça.
O meu computador não liga e a tela fica preta. Muito obrigado pela sua ajuda, agora
funciona. Dê-me uma lista de coisas para fazer no fim de semana com a família. O velho olhou
pela janela e viu que a noite já tinha chegado. Talvez amanhã vamos à praia, embora o tempo
não esteja muito bom. Por que as pessoas falam sempre das mesmas coisas? Seria ótimo se
alguém pudesse me mostrar qual arquivo é preciso mudar. Acho que está certo, mas deixa eu
verificar mais uma vez. Conte uma história sobre um cachorro que quer voar. Sim, a culpa foi
minha, desculpe. Tem certeza de que é esse mesmo? Há alguém aqui que me possa dizer como se
faz? Não sei o que aconteceu, mas já não abre. Os pães estão na mesa e as maçãs também.
]],
  nl = [[
Hoe kan ik het brood laten rijzen als het koud is in de keuken? Ik zou graag willen weten
wat je van deze vraag vindt, omdat mijn vrienden me allemaal een ander antwoord hebben
gegeven. Schrijf alsjeblieft een korte brief aan de eigenaar van het huis en zeg hem dat de
verwarming sinds vorige week niet meer werkt. Het regende toen we uit het station kwamen,
dus namen we een taxi en kwamen we net voor acht uur aan. De kinderen speelden in de tuin
terwijl hun moeder de krant las. Kun je het verschil tussen deze twee woorden uitleggen en
een paar voorbeelden geven? Er zou genoeg geld voor iedereen moeten zijn, maar niemand weet
waar het bewaard wordt. Zij werkt daar al heel veel jaren en begrijpt de regels nog steeds
niet. Als je iets nieuws wilt leren, moet je het elke dag proberen en mag je niet bang zijn
om fouten te maken. Wat is de beste manier om de ramen schoon te maken zonder strepen? Ze
zeiden dat ze hun eigen stoelen zouden meebrengen en dat wij de grote kamer boven mochten
gebruiken. Ik heb nog nooit zo'n mooie ochtend gezien, met het licht dat door de bomen valt.
Welk van deze boeken moet ik eerst lezen? Hij dacht er een tijdje over na en schudde toen
zijn hoofd. Mijn computer start niet op en het scherm blijft zwart. Heel erg bedankt voor je
hulp, nu doet hij het. Geef me een lijst van dingen die je in het weekend met het gezin kunt
doen. De oude man keek door het raam en zag dat het al nacht was geworden. Misschien gaan we
morgen naar het strand, hoewel het weer niet erg goed is. Waarom praten de mensen altijd
over dezelfde dingen? Het zou fijn zijn als iemand me kon laten zien welk bestand ik moet
veranderen. Ik geloof dat het klopt, maar laat me nog een keer kijken. Vertel een verhaal
over een hond die wil vliegen. Ja, dat was mijn schuld, het spijt me. Weet je zeker dat het
de juiste is? Is er hier iemand die mij kan zeggen hoe dat moet?
]],
  sv = [[
Hur kan jag få brödet att jäsa när det är kallt i köket? Jag skulle vilja veta vad du tycker
om den här frågan, eftersom mina vänner har gett mig olika svar. Skriv ett kort brev till
husets ägare och säg till honom att värmen inte har fungerat sedan förra veckan. Det regnade
när vi kom ut från stationen, så vi tog en taxi och kom fram strax före åtta. Barnen lekte i
trädgården medan deras mor läste tidningen. Kan du förklara skillnaden mellan de här två
orden och ge mig några exempel? Det borde finnas tillräckligt med pengar för alla, men ingen
vet var de förvaras. Hon har arbetat där i många år och förstår fortfarande inte reglerna.
Om man vill lära sig något nytt måste man försöka varje dag och man får inte vara rädd för
att göra fel. Vilket är det bästa sättet att putsa fönstren utan att det blir ränder? De
sade att de skulle ta med sig sina egna stolar och att vi kunde använda det stora rummet där
uppe. Jag har aldrig sett en så vacker morgon, med ljuset som faller genom träden. Vilken av
de här böckerna ska jag läsa först? Han tänkte på det en stund och skakade sedan på huvudet.
Min dator startar inte och skärmen förblir svart. Tack så mycket för hjälpen, nu fungerar
det. Ge mig en lista över saker att göra på helgen med familjen. Den gamle mannen tittade ut
genom fönstret och såg att det redan hade blivit natt. Kanske åker vi till stranden i
morgon, fast vädret är inte så bra. Varför pratar folk alltid om samma saker? Det vore bra
om någon kunde visa mig vilken fil jag måste ändra. Jag tror att det stämmer, men låt mig
titta en gång till. Berätta en historia om en hund som vill flyga. Ja, det var mitt fel,
förlåt. Är du säker på att det är den rätta? Finns det någon här som kan säga mig hur man
gör? Jag vet inte vad som har hänt, men den går inte att öppna längre.
]],
  cs = [[
Jak mám udělat, aby chléb vykynul, když je v kuchyni zima? Chtěl bych vědět, co si o této
otázce myslíš, protože mi všichni přátelé dali různé odpovědi. Prosím, napiš krátký dopis
majiteli domu a řekni mu, že topení od minulého týdne nefunguje. Když jsme vyšli z nádraží,
pršelo, a tak jsme si vzali taxi a přijeli jsme těsně před osmou. Děti si hrály na zahradě,
zatímco jejich matka četla noviny. Můžeš mi vysvětlit rozdíl mezi těmito dvěma slovy a uvést
několik příkladů? Peněz by mělo být dost pro všechny, ale nikdo neví, kde jsou uloženy. Ona
tam pracuje už mnoho let a stále nerozumí pravidlům. Jestli se chceš naučit něco nového,
musíš to zkoušet každý den a nesmíš se bát dělat chyby. Jaký je nejlepší způsob, jak umýt
okna, aby na nich nezůstaly šmouhy? Řekli, že si přinesou vlastní židle a že můžeme používat
velký pokoj nahoře. Nikdy jsem neviděl tak krásné ráno, se světlem, které padalo mezi
stromy. Kterou z těchto knih bych měl číst jako první? Chvíli o tom přemýšlel a potom
zavrtěl hlavou. Můj počítač se nechce spustit a obrazovka zůstává černá. Děkuji moc za
pomoc, teď už to funguje. Dej mi seznam věcí, které se dají dělat o víkendu s rodinou. Starý
muž se podíval z okna a viděl, že už je noc. Možná zítra pojedeme k moři, i když počasí není
moc dobré. Proč lidé pořád mluví o stejných věcech? Bylo by dobré, kdyby mi někdo ukázal,
který soubor je třeba změnit. Myslím, že je to správně, ale nech mě to ještě jednou
zkontrolovat. Vyprávěj příběh o psovi, který chce létat. Ano, byla to moje chyba, omlouvám
se. Jsi si jistý, že je to ten pravý? Je tu někdo, kdo mi může říct, jak se to dělá? Nevím,
co se stalo, ale už se to nedá otevřít. Nemám ponětí, o co jim jde, a nikdo mi to nechce
říct. Ty housky jsou na stole a jablka také, jen si vezmi, co máš rád.
]],
  pl = [[
Jak sprawić, żeby chleb wyrósł, kiedy w kuchni jest zimno? Chciałbym wiedzieć, co myślisz o
tym pytaniu, ponieważ wszyscy moi przyjaciele dali mi różne odpowiedzi. Proszę, napisz
krótki list do właściciela domu i powiedz mu, że ogrzewanie nie działa od zeszłego tygodnia.
Padało, kiedy wyszliśmy z dworca, więc wzięliśmy taksówkę i przyjechaliśmy tuż przed ósmą.
Dzieci bawiły się w ogrodzie, podczas gdy ich matka czytała gazetę. Czy możesz wyjaśnić
różnicę między tymi dwoma słowami i podać kilka przykładów? Powinno wystarczyć pieniędzy dla
wszystkich, ale nikt nie wie, gdzie są trzymane. Ona pracuje tam od wielu lat i nadal nie
rozumie zasad. Jeśli chcesz nauczyć się czegoś nowego, musisz próbować codziennie i nie
możesz bać się błędów. Jaki jest najlepszy sposób na umycie okien bez smug? Powiedzieli, że
przyniosą własne krzesła i że możemy korzystać z dużego pokoju na górze. Nigdy nie widziałem
tak pięknego poranka, ze światłem padającym przez drzewa. Którą z tych książek powinienem
przeczytać najpierw? Zastanawiał się przez chwilę, a potem pokręcił głową. Mój komputer nie
chce się uruchomić, a ekran pozostaje czarny. Dziękuję bardzo za pomoc, teraz działa. Podaj
mi listę rzeczy, które można robić w weekend z rodziną. Stary człowiek spojrzał przez okno i
zobaczył, że nadeszła już noc. Może jutro pojedziemy nad morze, chociaż pogoda nie jest zbyt
dobra. Dlaczego ludzie zawsze mówią o tych samych rzeczach? Byłoby dobrze, gdyby ktoś mógł
mi pokazać, który plik trzeba zmienić. Myślę, że to prawda, ale pozwól mi sprawdzić jeszcze
raz. Opowiedz historię o psie, który chce latać. Tak, to była moja wina, przepraszam. Czy
jesteś pewien, że to jest właściwe? Czy jest tu ktoś, kto może mi powiedzieć, jak to się
robi? Nie wiem, co się stało, ale już się nie otwiera. Nie mam pojęcia, o co im chodzi.
]],
  ru = [[
Как сделать, чтобы хлеб поднялся, когда на кухне холодно? Я хотел бы знать, что ты думаешь
об этом вопросе, потому что мои друзья дали мне разные ответы. Пожалуйста, напиши короткое
письмо хозяину дома и скажи ему, что отопление не работает с прошлой недели. Шёл дождь,
когда мы вышли из вокзала, поэтому мы взяли такси и приехали незадолго до восьми. Дети
играли в саду, пока их мать читала газету. Можешь объяснить разницу между этими двумя
словами и привести несколько примеров? Денег должно хватить всем, но никто не знает, где они
лежат. Она работает там уже много лет и до сих пор не понимает правил. Если хочешь научиться
чему-то новому, надо пробовать каждый день и не бояться ошибок. Какой самый лучший способ
вымыть окна без разводов? Они сказали, что принесут свои стулья и что мы можем пользоваться
большой комнатой наверху. Я никогда не видел такого красивого утра, когда свет падает сквозь
деревья. Какую из этих книг мне прочитать сначала? Он немного подумал, а потом покачал
головой. Мой компьютер не включается, и экран остаётся чёрным. Большое спасибо за помощь,
теперь всё работает. Дай мне список вещей, которые можно делать в выходные с семьёй. Старик
посмотрел в окно и увидел, что уже наступила ночь. Может быть, завтра мы поедем на море,
хотя погода не очень хорошая. Почему люди всегда говорят об одном и том же? Было бы здорово,
если бы кто-нибудь показал мне, какой файл нужно изменить. Я думаю, что это правильно, но
дай мне проверить ещё раз. Расскажи историю о собаке, которая хочет летать. Да, это была моя
вина, извини. Ты уверен, что это то, что нужно? Есть здесь кто-нибудь, кто может сказать
мне, как это делается? Я не знаю, что случилось, но он больше не открывается. Мы были там
вчера.
]],
  uk = [[
Як зробити, щоб хліб піднявся, коли на кухні холодно? Я хотів би знати, що ти думаєш про це
питання, тому що мої друзі дали мені різні відповіді. Будь ласка, напиши короткий лист
господареві будинку і скажи йому, що опалення не працює з минулого тижня. Йшов дощ, коли ми
вийшли з вокзалу, тому ми взяли таксі й приїхали незадовго до восьмої. Діти гралися в саду,
поки їхня мати читала газету. Чи можеш пояснити різницю між цими двома словами і навести
кілька прикладів? Грошей має вистачити всім, але ніхто не знає, де вони лежать. Вона працює
там уже багато років і досі не розуміє правил. Якщо хочеш навчитися чогось нового, треба
пробувати щодня і не боятися помилок. Який найкращий спосіб вимити вікна без розводів? Вони
сказали, що принесуть свої стільці і що ми можемо користуватися великою кімнатою нагорі. Я
ніколи не бачив такого гарного ранку, коли світло падає крізь дерева. Яку з цих книжок мені
прочитати спочатку? Він трохи подумав, а потім похитав головою. Мій комп'ютер не вмикається,
і екран залишається чорним. Дуже дякую за допомогу, тепер усе працює. Дай мені список речей,
які можна робити на вихідних із сім'єю. Старий подивився у вікно і побачив, що вже настала
ніч. Може, завтра ми поїдемо на море, хоча погода не дуже гарна. Чому люди завжди говорять
про одне й те саме? Було б чудово, якби хтось показав мені, який файл потрібно змінити. Я
думаю, що це правильно, але дай мені перевірити ще раз. Розкажи історію про собаку, який
хоче літати. Так, це була моя провина, вибач. Ти впевнений, що це саме те, що треба? Чи є
тут хтось, хто може сказати мені, як це робиться? Я не знаю, що сталося, але він більше не
відкривається. Ми були там учора, і нам дуже сподобалося.
]],
  tr = [[
Mutfak soğukken ekmeğin kabarmasını nasıl sağlayabilirim? Bu soru hakkında ne düşündüğünü
bilmek istiyorum, çünkü arkadaşlarımın hepsi bana farklı cevaplar verdi. Lütfen evin
sahibine kısa bir mektup yaz ve kaloriferin geçen haftadan beri çalışmadığını söyle.
İstasyondan çıktığımızda yağmur yağıyordu, bu yüzden bir taksiye bindik ve saat sekizden
hemen önce vardık. Anneleri gazete okurken çocuklar bahçede oynuyordu. Bu iki kelime
arasındaki farkı açıklayabilir ve birkaç örnek verebilir misin? Herkese yetecek kadar para
olmalı ama nerede saklandığını kimse bilmiyor. O uzun yıllardır orada çalışıyor ve kuralları
hâlâ anlamıyor. Yeni bir şey öğrenmek istiyorsan her gün denemelisin ve hata yapmaktan
korkmamalısın. Pencereleri iz bırakmadan temizlemenin en iyi yolu nedir? Kendi
sandalyelerini getireceklerini ve yukarıdaki büyük odayı kullanabileceğimizi söylediler.
Işığın ağaçların arasından düştüğü bu kadar güzel bir sabah hiç görmedim. Bu kitaplardan
hangisini önce okumalıyım? Bir süre düşündü ve sonra başını salladı. Bilgisayarım açılmıyor
ve ekran siyah kalıyor. Yardımın için çok teşekkür ederim, şimdi çalışıyor. Hafta sonunda
aileyle yapılacak şeylerin bir listesini ver. Yaşlı adam pencereden baktı ve gecenin çoktan
geldiğini gördü. Hava pek iyi olmasa da belki yarın denize gideriz. İnsanlar neden hep aynı
şeylerden bahsediyor? Birisi bana hangi dosyayı değiştirmem gerektiğini gösterebilse çok iyi
olurdu. Sanırım bu doğru ama bir kez daha kontrol edeyim. Uçmak isteyen bir köpek hakkında
bir hikâye anlat. Evet, benim hatamdı, özür dilerim. Doğru olduğundan emin misin? Burada
bana bunun nasıl yapıldığını söyleyebilecek biri var mı? Ne olduğunu bilmiyorum ama artık
açılmıyor. Dün oradaydık ve çok beğendik. Bunu daha önce de denedim fakat olmadı.
]],
}
