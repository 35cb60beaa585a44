--- English words that make a capital letter or a nick say nothing about a person.
--
-- `common` are everyday and technical words: a capitalised one is no unknown name, and a nick that
-- is one of them counts as a nick only where it is addressed. `proper` are capitalised words that
-- are no people: nations and adjectives of nations, places, brands, days, months, programs. `after`
-- are words that turn the name before them into the name of a thing (Victoria Station).

local words = {}

local set = require("perilune.rules.personal.word_set")

words.common = set([[
a abc abiword able about above accept access according account acer across act action active
actual actually add address adult advance advanced advice afaik afk afraid after again against age
agent ago agree ah ahead aiglx aint air alarm album alert alien alive all allow almost alone along
alpha already alsa also alt although always am amarok amazing amd among amount amule an anchor
ancient and angel anger angry animal annoy annoyed annual another answer any anybody anyone
anything anyway apache apart app apparently appear apple application applied apply april aptitude
arch archive are area argue arm army around array arrive arrow art artful article arts as ascii
ash ask asleep asset assume asus at atheros athlon ati atom attack attempt attention audio august
aunt auntie author auto autoconf automake autumn available avoid awake away awesome awk axe
azureus baby back backup bad badly bag bake ball band bank banner banshee bar bare bark base bash
basic basket bass bat batch bath battery battle bbl be beach beam bean bear beast beat beautiful
beauty because become bed bee beef been beep beer before begin beginner behind being believe
belkin bell below belt bench bend beneath berry beryl best bet beta better between beyond big bike
bill bin bionic bird birth bit bitchx bite bits bitter bittorrent black blackbox blade blame blank
blast blender bless blind blink block blog blood blow blue blur board boat body bold bolt bomb
bone book boot booted booting bored boring born boss bot both bother bottle bottom bounce bow bowl
box boy boyfriend brain brainstorm branch brand brandnew brave brb bread break breath breeze
breezy brick bridge brief bright bring broad broadband broadcom broken brother brown browser brush
btw bubble buffer bug bugs build built bull bunch burn bus bush business busy but butter button
buy buzz by bye byte bzip cable cache cached cactus cake call calm came camera camp can candle
candy cannot canon cant cap capital captain car card care careful carry cart case cash cast castle
cat catch cause cave cd ceiling celeron cell cent center centos cert chain chair chance change
channel chaos chapter character charge charm chart chase chat cheap check checkinstall cheer
cheers cheese cherry chess chest chicken chief child children chill chip chmod choice choose chown
chrome circle cisco city claim class clay clean clear clearly clever click client cliff climb clip
clock clone close cloth cloud clown club clue cmake coach coal coast coat cobra cock code coffee
coin cold colleague colleagues collect color colour comb come comet comfort comic command comment
committee common compact company compaq compare compile compiler compiling compiz complain
complete computer concept concerned config configure confirm confused connect connection console
contact contain content control cook cookie cool copper copy core corn corner correct cost could
count country couple courage course court cousin cover cow cpu crab crack craft crash crashed
crazy cream create creative creep cron crontab cross crow crowd crown cruel cry crypt crystal cube
cup cups cure curious curl current currently curse curve custom customer cut cute cycle dad daddy
daemon daily damn dance danger dapper dare dark darkness dart darwin dash dat data date daughter
dawn day days dbus dead deaf deal dear death deb debian debug decide deep deer default delay
delete dell delta deluge demon dentist deny depth desert design desk desktop detail dev developer
development device devil dhcp dial diamond diary dice did didnt die diesel diet differ different
dig digital dinner direct directory dirt dirty disc disk display dist distro ditto dive divide
dmesg dns do doc docs doctor does doesnt dog doing doll dolphin domain done dont door dot double
doubt down download downloading dozen dpkg draft drag dragon draw dream dress drew drink drive
driver drivers drop drum dry duck dude due dull dumb dump during dust duty dvd each eagle ear
early earth ease easily east easy eat echo edge edgy edit edition editor effect egg eight either
elder element elementary elf elite elm else emacs email emerald empire empty enable encryption end
enemy energy engine english enjoy enlightenment enough enter entire entry environment epiphany
epson equal error escape esd etc eth ethernet even evening event ever every everybody everyday
everyone everything evil evolution exact exactly example except exit expect experience expert
explain ext external extra extreme eye face fact factory fade fail fair faith faithfully falcon
fall false family famous fan far farm fast fat fate father fault favor fear feather feature fedora
feed feel feet feisty fell fellow felt female fence fever few field fight figure file files
filesystem fill film final find fine finger finish fire firefox firewall first fish fist fit five
fix flag flame flannel flash flat flavor flesh flight float flood floor flow flower flush fluxbox
fly focus fog fold folder folk folks follow font foo food fool foot for force forest forever forge
forget fork form format former fort forum forward found four fox frame frank free freebsd freedom
freeze french frequently fresh friday friend friends frog from front frost frozen fruit fstab ftp
fuel fujitsu full fun function funny fuse future gaim gain galeon game gamer gamma garden gas gate
gather gave gcc gdb gdm gear gecko geforce general generic gentle gentlemen gentoo german get gets
ghost ghz giant gif gift gimp girl girlfriend give given glad glass globe glory glove glow gnome
gnumeric go goat god goes gold golden gone gonna good goodbye google goose got gotta grab grace
grade grand grandfather grandma grandmother grant grape graph graphic graphics grass grave gray
great greed green greet greetings grep grey grid grim grip ground group grow grub guard guess
guest gui guide guidelines guild guitar gun guru gutsy guy guys gzip habit hack hacker had haha
hair hal half hall hammer hand handle hang happen happy hard hardly hardware hardy harmony has hat
hate have hawk hda hdd he head heal health hear heart heat heaven heavy heh hehe heir hell hello
help helped helper helpful hence her here hero herself hes hey hi hidden hide high hill him
himself hint hire hiring his history hit hm hmm hmmm hoary hold hole holiday holy home honest
honey honor hook hope horizontal horn horror horse host hot hotel hotplug hour house how however
howto html http hub huge hugs human humor hundred hunger hungry hunt hunter hurry hurt husband ibm
ice icedtea icewm icon id ide idea idiot idle if ignore ill im image imagine imho imo important in
inch indeed index info init inkscape inner inode input insane inside install installation
installed installer installing instead intel internet into intrepid invite involve involved iron
irssi is island isnt issue it item its itself ive jack jade jam january jaunty java jazz jelly jet
job join joke joker journey joy jpeg judge juice july jump june jungle junior just justice karmic
kde kdm keen keep kernel key keyboard kick kid kill killall killer kind kinda king kingdom kiss
kit kitchen kite kitten kmail knee knew knife knight knock knoppix knot know known koffice
konqueror ktorrent kubuntu kvm kwin lab lack lacking ladies lady lake lamb lame lamp lan land
landlord lane language laptop large laser last late later latin laugh launch launchpad law lawn
lawyer lay layer lazy lead leader leaf league learn least leather leave led left leg legal legend
lemon length lenovo less lesson let lets letter level lexmark liar lib library lick lie life lift
light lightdm like lime limit line link links linksys linux lion lip list listen lite little live
livecd lmao load loan local locale locate lock log logic login logout lol lonely long look looks
loop loose lord lose loss lost lot lots loud love lovely lover low lower lspci lsusb lucid luck
lucky lunar lunch lynx mac machine macos mad madam made madwifi magic magnet mail main major make
makefile maker makes male mall man manage manager mandrake mandriva mango manual many map maple
marble march mark market mars mask mass master mat match mate matrix matter maverick max maximum
may maybe mbr me meal mean means meat media meet meeting mega mellow melody melt member memory men
mental mention menu mepis mercy mere merry mess message messenger messy metacity metal meter
method mhz microsoft mid middle midnight might mile milk mill min mind mine mini minor mint minute
mirror misery miss mission mist mistake mix mkdir mobile mode model modem modern module modules
mom moment mommy monday money monitor monk monkey mono monster month mood moon more morning most
moth mother motion motor motorola mount mountain mounted mouse mouth move movie mozilla mp mplayer
much mud multi multimedia mum murder muse music must mute mutt my myself mysql mystery myth nah
nail naked name napkin narrow nasty nation native natty nature nautilus ndiswrapper near neat neck
need needle needs neighbour neither neo nephew nerd nerve nest net netbsd netgear network never
new newbie news next nfs nice nick niece night nine ninja no noble nobody node noise nokia nomad
none noob noon nope nor normal north nose not note nothing notice nova novel now nowhere np ntfs
nuclear null number nurse nut nvidia oak obey object obvious ocean october odd of off offer office
officer often oh oil ok okay old olive omg on once one oneiric onion only onto oops open openbox
openbsd opengl openoffice opensuse opera opinion opt option or oracle orange orchid order organ
origin orinoco oss osx other our out outer outlaw output outside over own owner ox pack package
packages page pain paint pair palace pale palm pan panda pangolin panic panther paper parade
parent parents park part particular partition partitions party pass password past paste pastebin
patch path patience patient pause paw pay pdf peace peach peak pearl pen pencil penguin pentium
people pepper percent perfect perhaps perl permission permissions person pet phantom phase phoenix
phone photo php phrase piano pick picture pidgin pie piece pig pilot pin pine ping pink pint pipe
pirate pit pixel pizza place plain plan plane planet plant plastic plate play player please plenty
plot pls plug plugin plus plz png pocket poem poet point poison polar police policy polish pool
poor pop popular port portal ports post postgres pot potato pound power powerful precise prefer
preferences present press pretty price pride prime prince print printer printing prior prison
private probably problem process processor professor profile program programs project promise
proof proper protocol proud proxy public pull pulse pulseaudio pump punk puppet puppy pure purple
purpose push put puzzle python qemu quake quantal queen query quest question questions quick quiet
quit quite quiz quote r rabbit race radeon radio rage raid rail rain rainbow raise ram random
range ranger rank rar rare raring rat rate rather raven raw ray reach read reader readers readme
ready real reality really realtek reason rebel reboot receive recent recommend recovery recruiter
red redhat reed refresh refuse regards region regret reinstall reiserfs relax release remain
remember remote remove repair repeat reply repo report repos repositories repository request
rescue reset resolution respect respectfully rest restart restarting result return reverse
rhythmbox rice rich ride rider right ring rip rise risk river rj road robin robot rock rocket rofl
rogue role roll roof room root rope rose rotate rough round route router royal rpm rsync ruby rude
ruin rule ruler run runner running rush rust sad safe safety sage said sail sailor saint salad
sale salt samba same sample samsung sand santa sata satan saturday sauce saucy save say says scan
scanner scare scene school science score scout scream screen screensaver script scripts scroll sea
seal search season seat second secret section secure security sed see seed seek seem seems seen
self sell send sense sent sentence separate serious serve server servers service session set seven
several sex sftp shade shadow shake shall shame shape share shared shark sharp she sheep sheet
shell shes shield shift shine shining ship shirt shit shock shoe shoot shop short shot should
shoulder shout show shower shut shutdown shy sick side siemens sight sign signal silence silent
silk silly silver similar simple since sincerely sing singer single sink sir sirs sister site
situation six size skill skin skip sky slackware slave sleep sleepy slide slim slip slow small
smart smell smile smoke smooth snake snow so soap soccer social sock soft software soil solar
solaris sold soldier sole solid solution some somebody someone something sometimes son song sonic
sony soon sorry sort soul sound sounds soup sour source sources south space spam spanish spark
speak spec special speech speed spell spend spider spin spirit splash split spoil spoon sport spot
spring spy sqlite square src ssh stable staff stage stamp stand standard star stare start started
starter startup state static station status stay stderr stdin stdout steal steam steel step stick
still sting stock stone stop store storm story straight strange stranger straw stream street
stress strike string strong stuck student students study stuff stupid style sub subject success
such sudden sudo sue sugar suit summer sun sunday sunny sunset super support sure surface surge
surprise suse swap sweet swim swing switch sword symbol synaptic synaptics synergy sysadmin system
systemd sysv table tag tail take tale talk tall tank tap tape tar target task taste tax tea teach
teacher team tear tech teeth tell telnet temple ten tenant tender tent term terminal terrible test
tester text than thank thanks that thats the their them then theory there theres these they theyre
thick thief thin thing things think thinkpad third this those though thought thousand thread three
throat through throw thumb thunder thunderbird thus thx ticket tie tiger tight till time times
timing tin tiny tip tired title tmp to toast today todo toe together token told tomato tomorrow
tone tongue tonight too tool top topic torch torrent toshiba total totem touch touchpad tough tour
toward tower town toy trace track trade trail train transmission trap trash travel tree trial
trick trip tritium troll trouble truck true truly trust trusty truth try tty tube tune tunnel
turbo turn turtle tutorial twelve twice twin twist two ty type typing typo u ubuntu udev ugly uh
ultra um unable uncle under understand unfortunately unicode uninstall unique unit unity universal
universe unix unknown unless unmount unrar until up update upgrade upgrading upon upper upset
upstart ur url us usage usb use used useful user username users usr usual utf utopic valley value
valued van vanilla var vault vector velvet venom verbose version vertical very vibe victim victory
video view vim violet viper virtual virtualbox virus visit vista visual vivid vlc vmware vnc voice
void volcano volume vote wait wake walk wall wander wanna want wants war warm warning warrior
warty was wash wasnt waste watch water wave way we weak wealth weapon wear weather web webcam
website wedding weed week weird welcome well went were west wet wget whale what whatever whats
wheel when where whether which while whisper white who whoever whole whom whose why wicked wide
wife wifi wiki wild will wily win wind window windows wine wing winner winter wire wireless wise
wish wit witch with within without wizard wlan wolf woman women won wonder wont wood wooden wool
word words work worker working works world worm worry worse worst worth would wow wrap write wrong
wtf xchat xdm xen xenial xfce xgl xine xmms xorg xp xrandr xterm xtreme xubuntu yakkety yard yeah
year yellow yep yes yesterday yet you young your youre yours yourself youth yum yup zebra zero
zesty zip zombie zone zoom zsh
]])

words.proper = set([[
Afghanistan Africa African Alaska Albania Algeria Amazon America American Amsterdam Android
Antarctica Antwerp Apache Apple April Arab Arabic Arctic Argentina Argentine Arizona Arkansas Asia
Asian Athens Atlanta Atlantic August Australia Australian Austria Austrian Baghdad Bali Bangkok
Bangladesh Bangladeshi Barcelona Basel Batman Bavaria Bean Beijing Beirut Belgian Belgium Belgrade
Berlin Bermuda Bible Bing Bitcoin Bluetooth Bogota Bolivia Bombay Bosnia Bosnian Boston Brazil
Brazilian Bremen Brexit Britain British Brussels Budapest Buddhist Buffalo Bulgaria Bulgarian
Cairo Calgary California Cambridge Canada Canadian Cardiff Caribbean Catalan Catholic Chicago
Chile Chilean Chinese Christian Christmas Chrome Claus Clean Cologne Colombia Colombian Colorado
Columbia Congo Connecticut Copenhagen Croatia Croatian Cuban Cyprus Czech Danish Debian December
Delaware Delhi Denmark Detroit Disney Django Docker Dubai Dublin Dubuntu Dutch Easter Ecuador
Edinburgh Egypt Egyptian England English Essex Estonia Estonian Ethiopia Ethiopian Europe European
Everest Evil Excel Facebook February Fedora Filipino Finland Finnish Firefox Florida Fortune
France Frankfurt French Friday Gdansk Geneva German Germany Ghana Ghanaian Git GitHub Glasgow
Gnome God Google Gotham Greece Greek Haitian Halloween Hamburg Hanukkah Harvard Havana Hawaii
Hebrew Helsinki Himalaya Hindu Hispanic Hollywood Hungarian Hungary IBM Iceland Icelandic Idaho
Illinois Indian Indonesia Indonesian Instagram Intel International Internet Iowa Iran Iranian Iraq
Iraqi Ireland Irish Israeli Istanbul Italian Italy Jamaica Jamaican January Japan Japanese Java
JavaScript Jerusalem Jet Jew Jewish Jira July June Jupiter Jupyter Kabul Kansas Karachi Kentucky
Kenya Kenyan Keras Kiev Kitty Koran Korea Korean Kotlin Krakow Kubernetes Kubuntu Kurdish Kuwait
Kyoto Latin Latino Latvia Latvian Lebanon Leeds Leicester Leipzig LibreOffice Libya Linkedin Linux
Lisbon Lithuania Lithuanian Liverpool Louisiana Lua Luxembourg Lyon Mac Madrid Maine Malaysia
Malaysian Malta Manchester Manhattan March Marple Mars Maryland Massachusetts May Mecca Melbourne
Mexican Mexico Miami Michigan Microsoft Milan Minecraft Minnesota Mississippi Missouri Monday
Montreal Mormon Moroccan Morocco Moscow Mozilla Mumbai Munich Muslim Naples Nashville Nebraska
Nepal Nepali Netflix Netherlands Nigeria Nigerian Norway Norwegian Norwich November NumPy Nvidia
October Office Ohio Oklahoma Ontario Oregon Orthodox Oslo Oxford Pacific Pakistan Pakistani
Palestine Palestinian Panama Pandas Paypal Pennsylvania Pepper Perl Persian Perth Peru Peruvian
Philadelphia Philippines Pixel Pluto Poland Polish Portland Portugal Portuguese Prague Protestant
PyTorch Python Quebec Quora Quran Ramadan Reddit Reykjavik Right Robot Romania Romanian Rome
Russia Russian Rust SQL Samsung Saturday Saturn Scotland Scottish Seattle Senegal Seoul September
Serbia Serbian Seville Shanghai Siberia Sikh Silicon Singapore Skype Slovak Slovakia Slovenia
Slovenian Snapchat Somali Somalia Spain Spanish Sparta Spiderman Spock Spotify Springfield Steam
Stockholm Strange Strasbourg Stuttgart Sudan Sudanese Sunday Superman Sweden Swedish Swiss
Switzerland Syria Syrian TV Taiwan Taiwanese Tennessee Texas Thai Thailand Thanksgiving Thursday
Tokyo Toronto Toyota Tuesday Tunisia Tunisian Turin Turkey Turkish Twitter USA Uber Ubuntians
Ubuntu Uganda Ukraine Ukrainian Universe Utah Vancouver Vatican Venezuela Venezuelan Venice
Vermont Vietnam Vietnamese Volkswagen Wales Walmart Warsaw Watson Wednesday Welsh Whatsapp Who
Wikipedia Windows Wisconsin Word World Wrong Xbox Xubuntu Yahoo YouTube Zoom Zurich Zürich
]])

words.after = set([[
Airport Algorithm Arena Avenue Award Awards Bank Bay Beach Bridge Canal Castle Cathedral Center
Centre Church City Clinic Club College Conference Corporation County Court Creek Cup Day Diagram
Distribution Drive Effect Electric Equation Falls Festival Foundation Function Gallery Garden
Gardens Grammar Grand Group Hall Harbor Harbour Hill Hills Hospital Hotel House Inc Industries Inn
Institute Integral Island Islands Lake Lane Law Laws Library Ltd Mall Market Matrix Method Model
Monument Mountain Mountains Museum Number Ocean Palace Paradox Park Peninsula Pipeline Place Plaza
Plot Point Port Prize Problem Process Railway Ranch Restaurant Ridge River Road School Sea Series
Square Stadium Star State Station Strait Street Studio Studios Surface Systems Test Theater
Theatre Theorem Tower Transform Tree Triangle Tribune Trophy University Valley Village Wall War
Way Zoo algebra algorithm bank constant cup curve diagram distribution effect equation function
grammar guitar integral lake law laws matrix method model numbers oil paradox pipeline plot port
prize process river scale season series sort street surface tea test theorem transform tree
triangle unit
]])

return words
