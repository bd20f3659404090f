"""Small words that give a language away: written by hand for this project.

A word is looked up in lower case, as it is written and with its accents dropped, so that "por qué" and "por que" are
one and "für" is not the English "fur". Words that are common in English texts stand in no foreign list ("die", "care",
"men"). Which words English and the others share was counted in real English prompts, in the Universal Declaration of
Human Rights and in message catalogues; no list was taken from anywhere.

A weak word says less. English ones are words of another language too ("in", "do"); foreign ones are of one or two
letters, or are met in English as particles of names ("Rio de Janeiro", "Vincent van Gogh") or as rare words.
"""

_ENGLISH = """
    about above according across actually after again against ago almost along already also although always among and
    another answer any anyone anything aren't around ask away back because been before behind being below benefits
    best better between biggest biography both bring buy bye calculate call can't cannot cant causes change choose
    compare convert correct could couldn't create days define describe did didn't didnt difference does doesn't doesnt
    doing don't dont down draft dunno during each eat either else english enough even ever every everyone everything
    examples explain explained favorite favourite few find first five four from funny gave generate getting gimme give
    given go goes going gone gonna good got great guess happened happens have haven't having hello help hers herself
    hey high highest him himself how's however i'd i'll i'm i've ideas if improve instead into isn't isnt it's its
    itself ive just keep kind know largest last latest learn least left less let let's lets life like little live lol
    longest look lose lost love make makes making many maybe meaning means might money more most movie much must
    myself names near need needs never new next nobody none nothing now often ok okay once only onto open opposite
    other others our ours out outside own people per place play please pls plz price put quick quickly quite rather
    read reasons recipe recommend remind remove same say says sentence several shall she short should shouldn't show
    side since six small smallest some someone something sometimes song soon sorry spell start stay still stop suggest
    summarize summary symptoms take talk tallest teach tell ten thank thanks that that's thats the their them
    themselves then there there's these they they're thing things think this those though thought three through thx
    tips today together tomorrow tonight too took translate tried true try turn twenty twice two until up upon used
    uses using versus very wanna want wants wasn't way we're we've week well went what what's whats when when's where
    where's whether which while who who's whole whom whose why why's with within without won't wont word words work
    works world worst would wouldn't write written wrong yeah year years yesterday yet you'd you'll you're you've
    young your yours yourself
"""

_WEAK_ENGLISH = """
    all are as at be but by can day do for get had has he her here his how in is it list long made man men my name not
    of off on one or order over set so star story such than time times to top type under us use war was we were will
    yes you
"""

# Each language's code stands before its words; neighbours that share most words stand together.
_FOREIGN = """
    de: dem den und ist sind ein eine einen einem einer eines nicht kein keine ich er wir ihr mir mich dich uns euch
        sie ihn ihm wie wer wo wohin woher warum wann welche welcher welches wieviel viele kann kannst können möchte
        muss soll darf mit für zu zum zur auf aus bei nach über auch noch schon sehr bitte schreibe schreib gib
        erkläre erzähl erzähle nenne hilf zeig zeige mach stell sag übersetze wird werden wurde worden im vom beim
        seit ohne gegen zwischen unter oder aber denn weil dass wenn ob nur mehr mein meine meinen meiner meinem dein
        deine heute morgen gestern jetzt immer habe haben hast geht gibt heißt macht liegt bist gerade alle alles
        etwas nichts unterschied rezept fuer ueber koennen moechte erklaere erzaehl groesste kuerzester guten danke
        gute neue neuen ganz leider
    fr: est sont dans sur avec qui quoi quel quelle quels quelles pourquoi combien quand où je tu elle nous vous ils
        elles mes tes ses votre leur ce cette ces cet ça moi toi peux peut pouvez veux ou au aux écris donne explique
        raconte traduis rédige résume liste c'est l'eau qu'est qu'il n'est d'un d'une j'ai une et du des les par pour
        pas très bien aussi mais donc chez vers entre depuis pendant avant après fais fait faire être avoir ont sera
        était meilleurs meilleur meilleure différence recette demain aujourd'hui hier bonjour merci s'il y voici leurs
        toute tous toutes même jusqu'à lumière allume éteins mets
    es: una unos unas es está están por para que quién cuál cuáles cómo cuándo dónde cuántos cuánto cuántas cuánta yo
        tú mis tus sus este esta estos estas ese esa esto eso escribe explica cuéntame puedo puedes puede quiero
        necesito tengo tiene más muy sobre los las pero también porque sin con desde hasta hacia donde como cuando
        según hazme hacer pon ponme apaga enciende traduce háblame recomiéndame fue ser estar eres soy ya así aquí hoy
        mañana ayer mejor mejores diferencia diferencias receta nuestro nuestra del se lo le nos qué si sí nada algo
        todo todos todas cada otro otra gracias hola buenos buenas ahora siempre nunca mi su al
    it: gli della dei delle degli dello che chi cosa quando dove perché quale quali quanto quanti quanta sono è senza
        sul nel nella nello sulla mio mia miei dammi scrivi spiega raccontami puoi può posso più alla allo agli alcuni
        un'altra qual dal dalla dai tra fra anche ma ho hai abbiamo hanno sei siamo essere fai metti accendi spegni
        traduci parlami fammi dimmi consigliami questo questa questi quello quella oggi domani ieri ora molto bene
        migliori migliore differenza ricetta tutte tutti tutto ogni grazie ciao c'è cos'è qualcosa il la nostro suo
        sua tuo tua stato
    pt: os uma umas das na nas em são sem quem quais onde quantos quantas eu meu minha meus minhas você vocês escreva
        conte pode preciso tenho tem há ao aos pelo pela não sim muito também mas até já ainda isso isto esse essa
        faça faz fazer toca acende traduza diga fala melhores melhor diferença receita hoje amanhã ontem agora
        obrigado olá seu seus nosso ele ela foi estou é um dá fica custa quero gostaria dê voce nao sao faca amanha
        tudo
    nl: het een en ik jij hij zij wij mij mijn jouw zijn haar dat deze dit wat waar waarom hoe hoeveel wanneer welke
        welk kan kun kunt voor naar op uit bij ook niet geen geef schrijf vertel om wordt werd ligt moet wil heb heeft
        hebt hebben van aan tot tussen onder zonder tegen maar omdat nog nu vandaag gisteren goed beste verschil
        vertaal zet speel bedenk maak noem zoek veel meer meest iets niets samenvatting graag krijgen gaat komt staat
        onze
    sv: och ett är som på det vad vem hur varför när var vilken vilka vilket jag vi ni mig mina mitt din med utan från
        av inte ge skriv berätta förklara många bli blir ligger har ska skulle för att sätt spela tänd släck översätt
        sammanfatta hitta mycket mer mest eller också idag imorgon igår skillnad mellan recept något finns gör göra få
        får där här sig oss sitt ditt efter över vill bästa
    da: og hvad hvem hvordan hvorfor hvornår hvor hvilken hvilke hvilket jeg uden til af ikke giv fortæl forklar mange
        bliver hva gi meg når sette sæt spil tænd sluk oversæt meget også nå dag imorgen forskel forskellen forskjell
        mellem mellom noget noen noe skal vil være været gør gøre der seg etter ved opskrift oppskrift slå slukk
        oversett fortell skru ikkje eg kva kven korleis kvifor eit frå vere hjå då lyset tak dansk norsk blei
    fi: ja ei mikä mitä mitkä miten miksi milloin missä mistä mihin kuka ketkä kuinka minä sinä hän minun sinun
        minulle minulla voitko voinko ovat oli olen olet kirjoita kerro anna selitä tämä ole mista onko mikset että
        jos tai mutta myös nyt tänään huomenna eilen sekä kanssa ilman ennen jälkeen paljon enemmän eniten paras
        parhaat käännä soita sytytä sammuta keksi laita aseta resepti välinen ero kaikki jotain mitään missään oikein
        haluan
    pl: w z jest są nie jak jaki jaka jakie kto kogo kiedy gdzie skąd dokąd dlaczego ile czy moj moja moje mój mnie
        dla od po napisz podaj opowiedz wyjaśnij proszę się który która które przez oraz ale lub albo że żeby już
        jeszcze tylko bardzo więcej najlepszy najlepsze najlepsza między bez nad przed przy tego tej ta te coś nic
        wszystkie zrób powiedz przetłumacz włącz wyłącz zapal zgaś przepis różnica dziś dzisiaj jutro wczoraj teraz
        mam masz może możesz można mogę chcę jestem być było był będzie dzień dobry dziękuję
    cs: jsou v ze jaké jaký jaká kdo koho kdy kde kam proč kolik muj můj mě mne že napiš dej vysvětli prosím který
        která které ako preco prečo kedy kolko koľko ty byl byla bude budou budem zítra zajtra dnes dneska včera nebo
        alebo aby když keď mezi medzi před pred při tento jen už ještě ešte také tiež něco niečo všechny všetky
        nejlepší najlepší najlepšie řekni povedz přelož prelož zapni vypni zhasni pusť pusti vymysli rozdíl rozdiel
        potřebuji potrebujem mám máš můžeš môžeš chci chcem jsem sme být byť mojho mého meho sú čo čím ktorý ktorá
        ktoré děkuji ďakujem stojí bolí mohu môžem podľa podle
    sl: za kaj kako kdaj kje zakaj koliko da pa še lahko napiši povej prevedi prižgi ugasni izmisli predvajaj razlika
        brez najlepše najboljši danes jutri včeraj vse vsi nekaj nič kateri katera katero prosim hvala smo ste bo bom
        nisem zdaj iz
    hr: sa koji koja koje šta što tko ko zašto kada kad gdje gde kuda li ili ne između prije posle poslije reci daj
        upali ugasi uključi isključi smisli ispričaj pričaj najljepše najbolji najbolje danas sutra jučer juče sada
        sve svi nešto ništa neki kojeg molim bilo biti ima nema može mogu moze zelim želim treba trebam znači ova ovaj
        ovo odmah živi
    tr: bir bu şu nedir nasıl neden niçin niye kimdir nerede nereye nereden kaç hangi hangisi için veya mu mı mü çok
        daha bana benim senin onun bizim sen yaz anlat söyle aç kapat çevir bul yap öner göster olarak kadar lütfen
        yok mısın misin olan gibi sonra önce arasındaki fark farkı tarifi hakkında bugün yarın dün şimdi bütün tüm
        değil ama çünkü eğer ister istiyorum olur olacak oldu kac cok hakkinda yarin bilgi merhaba
    az: nə nədir necə niyə haradadır harada hansı neçə üçün ilə və ən mənə mənim sən siz danış de kimi haqqında sabah
        dünən indi hər edin olacaq yandır tərcümə yox
    uz: nima qanday qachon qayerda qancha nechta uchun bilan va yoki haqida menga mening yoz ayt bering kerak edi
        bo'ladi bo'lgan emas ertaga bugun kecha barcha hamma shu ushbu qiling qilish
    id: yang ke dari apa siapa bagaimana mengapa kenapa kapan dimana mana berapa ini itu saya aku kamu anda kita kami
        mereka untuk dengan tolong tulis tuliskan jelaskan berikan buat buatkan adalah cara tidak nggak bukan bisa
        dapat ada oleh agar apakah sebutkan pada dalam atau juga akan sudah telah belum masih sangat lebih paling
        terbaik hari besok kemarin sekarang semua setiap tentang antara seperti jika kalau karena tetapi tapi nyalakan
        matikan putar terjemahkan ceritakan carikan hidupkan mainkan tutup perbedaan beza resep resipi gimana gua
        banget dong nih awak kepada daripada sejak selamat terima kasih harus boleh lagi saja sebagai orang
    jv: sapa piye kepriye ngendi pira iki iku kowe sampeyan saka karo kanggo wis arep tulung gawe critakna jenengmu
        omahmu sesuk saha naon kumaha iraha sabaraha anjeun abdi teu henteu jeung ieu eta ti keur ngaran atawa ka
        pikeun caritakeun babagan
    vi: tôi bạn của và những một các cho không người trong được gì nào viết đâu kể giải thích như năm mai tiếng thời
        tiết làm bài thơ là có với này đó khi ở từ đến về hôm nay nhất bao nhiêu nhiều hơn rất cũng đã sẽ đang phải mở
        tắt bật dịch đặt công thức giữa khác tại vì thế cua nhung cac khong nguoi duoc viet dau giai nhu thoi tiet lam
        tieng nhieu muon hoc biet
    ro: sunt cu pe cine cum când unde cât câți câte pentru mie îmi imi scrie spune explică poți cel cea sau fi despre
        și în o un lui mea mele tău fără intre între după inainte aprinde stinge pune tradu povestește găsește caută
        cele bun bună bune frumoase rețetă diferența astăzi mâine acum toate foarte vreau trebuie poate avem că dacă
        unei unui acest această mă
    hu: és egy hogy ki hol hova mikor miért hogyan milyen melyik hány mennyi nem irj írj mondj magyarázd kell lesz az
        kérlek ami ez ezt azt vannak volt vagy csak már még nagyon legjobb között után előtt nélkül kapcsold fordítsd
        játssz oltsd találj mesélj holnap tegnap minden összes valamit különbség nekem mert fel szeretnék tudsz lehet
    lt: kas ir kur kodėl kaip yra mano tavo parašyk kokia koks kokie apie uzrašyk kiek ar į iš nuo prie arba jei labai
        geriausias skirtumas tarp receptas dabar šiandien rytoj vakar visi aš jis ji jūs nėra buvo išjunk įjunk
        išversk papasakok paleisk sugalvok ką nors
    lv: kāpēc kā mans manam kāds kāda cik vai uz pēc ļoti labākais labākā starp recepte tagad šodien rīt viņš mēs nav
        bija būs ieslēdz izslēdz iztulko pastāsti uzraksti izdomā atskaņo kaut dzivo
    et: kes kus millal miks kuidas kui palju minu mulle mul sina kirjuta räägi seda selle ning või aga väga kõige
        parim vahe retsept täna homme eile nüüd kõik midagi mängi kustuta tõlgi ära milline mida sinu elab
    ru: chto kak kakoy kakaya kakie kogda pochemu zachem skolko menya moy moya tebya tebe rasskazhi napishi ob'yasni
        perevedi vklyuchi vyklyuchi postav pozhaluysta eto etot etu vy yaka yak yakyi khto shcho budet dlya ot mezhdu
        luchshiy luchshie segodnya zavtra vchera seychas ochen mozhno mozhesh nado nuzhno privet spasibo dobryi meni
        mene skilky koly chomu vchora rozkazhy napyshy kakvo shte koi koy kade zashto koga koya stolitsata neshto boli
        zdravei kazhi kazji e cto
    hi: hain hoon kya kaun kaise kaisa kaisi kab kahan kyon kyu kyun kitna kitne kitni mujhe mera meri tum tumhara
        tumhari aap aapka aapki hum humein unka uska iska yeh yah woh nahi nahin bata batao bataiye karna karta karte
        karke kar kare sunao sunaiye sakta sakte sakti bahut bada bara hota hoti hote sab aur lekin phir kal aaj raat
        banao banane likho likh dikhao chalo chalu dijiye liye wala wale wali raha rahi rahe gaya gayi hua hui kuch
        accha achha yaar bhai naam bhi toh jala jalao tarika samjhao abhi kiya kisne hamara
    bn: tumi apni amar tomar apnar amake keno kothay kemon koto kichu ekta oi hobe holo kore koro bolo theke diye
        jonno mainu tusi tera teri tenu kiddan kinne vich naal haal enakku unakku naan nee unga enga enna eppadi evlo
        romba illa iruku irukku oru sollu innaiku naaku neeku nenu meeru emi enti ekkada eppudu oka undi cheppu timro
        malai mero kasto kati kaha euta sunau chha cha
    zh: nimen zenme zenmeyang shenme nali nar weishenme gei jiang yige qing jintian mingtian zuotian tianqi zhongguo
        shi zai mei ba hao xie shuo zhe duoshao guanyu keyi xiang yao zuo yi liang tong
    ja: wa ga desu deshita doko nani nan itsu naze dare kudasai watashi boku anata kono ano nihon nihongo ashita kyou
        kinou masu mashita masen masho shimasu kaite oshiete tsukete keshite totemo kara dou ikura hanashi tenki suru
        aru iru
    ko: annyeonghaseyo annyeong oneul naeil eoje nalssi nalssiga juseyo jwo hae haeyo mwo mwoya nugu eodi eodie wae
        eotteoke eottae eonje hangug hangukeoreul naneun jeoneun neoneun uri geu iyagi beop hago isseoyo eopseoyo eul
        reul eun neun yeongeoro kyeo
    el: einai pou pote pios poios poia poso posa posoi posi mou sou tou tis ena enas gia stin ston sti parakalo grapse
        metafrase anapse svise tipota apo giati simera avrio htes kanei echei exei thelo mporo boreis kalimera
        kalispera ola
    ar: huwa kayfa kaif halak ila anta inta inti madha mada matha ayna ayn wayn wein fein fen mata limadha leish lesh
        laysh eh ezay ezayak shou esh mish ala el yalla habibi inshallah mumkin momken uktub bayn nahnu hadha hadhi
        hatha walla kifak akhbarak bkam haga khales keef shukran fadlak alyom elyom nharda bukra
    fa: ast chetore chetori chetor emrooz emruz farda shoma kojast kei chera chand hale mikonam mikoni mishe mikham
        kheyli khayli lotfan salam ye yek baram kon bede darad nist ro ra dar
    he: ani ata anahnu shel sheli shelcha shlomcha shlomech hayom machar etmol lama kama eifo eich matai zot ken yesh
        lecha saper tadlik ktov katav koev bevakasha haver toda hamitbach hasefer
    tl: ang ng mga sino bakit paano kailan saan ilan ikaw siya tayo sila kung ay isang isa tungkol nang nga naman rin
        daw yung iyong ito iyan iyon hindi huwag mayroon akong mong niya nila natin namin bigyan sabihin ipaliwanag
        isulat isalin ngayon bukas kahapon lahat pinaka pwede pwedeng kasi tapos magkano unsa asa ug kanako imong
        ngalan palihog karon kaayo nako unsaon pila paki yun niyo pag gawa
    sw: kwa katika nini lini wapi gani kuhusu nipe andika niambie jinsi hii hiyo huyu huu hizi zaidi sasa leo kesho
        jana watu wangapi mimi wewe yeye sisi wangu yangu langu zangu zote yote wote sana pia lakini tafadhali habari
        tafsiri eleza cheza zima washa mapishi ngapi yako wako hakuna iko kutoka mpaka kwenda kwenye nitafutie
        ninataka nataka
    ha: ina yaya menene wanene wace yaushe nawa ita ku wannan wancan mutane suke tun jiya yau gobe zuwa daga cikin
        fassara rubuta kwana babban sunan yake ake allah
    yo: kí kini bawo báwo nibo tani ló fún rẹ orúkọ oruko ìtàn àti ati pẹlú jẹ ṣe ń ìwé eniyan melo gbe kedu gịnị gini
        onye ebee ebe mgbe nke gị bụ dị ndị gwa biko banyere maka akwụkwọ kọ fihan naka sama ci
    zu: ngicela yini kanjani kuphi ubani ngubani bangaki yimi wena futhi kanye noma ukuthi abantu sawubona unjani yebo
        namhlanje kusasa izolo manje wami yami lami zonke kusukela ngiphethwe ngitshele yenza igama ndixelele nceda
        bangaphi yam wam lakho yakho ngoku ndiyabulela molo njani mang tsa lebitso mphe kajeno batho bakae sena leng
        joang hobaneng eng
    so: waa maxaa maxay sidee goorma xaggee halkee imisa waxaan waxaa iyo oo sheeg fadlan ah ayaa uu magacaaga berri
        shalay maanta qof yaa buug kani oduu akkamitti eenyu maqaan kana keessa hin
    rw: ryari kuki nde bangahe kandi cyangwa witwa mbwira ejo ubu uyu yanditse kuva ndiani chii rini kupi nei vangani
        zita rako ndiudze nezuro mangwana nhasi uye kubva iri erinnya lyo gwe ddi lwaki atya bameka mbuulira
    mg: iza inona ahoana aiza oviana nahoana firy ny sy amin'ny an'ny aho ianao izy isika ity izany tantarao amiko
        omaly androany rahampitso anaranao momba misy tsy izay
    af: hoekom vir asseblief skryf gee watter jy hy julle hulle jou hierdie daardie baie nou vandag gister moenie
        lekker sonder beteken
    fy: wêr hoefolle wannear wêrom dyn myn wy syn foar oer sûnder tusken mar ûnder gjin kinst kin wol sil skriuw
        fertel oersette moarn hjoed juster yn komst efkes hûn wéi wou wien firwat wéini ech hien sinn hunn gëtt
        gëschter muer haut schreif erziel iwwersetz dëse dës vun iwwer däin mäin
    sco: ae aw agin gey reid toon unco weans ain ane auld aye bide bides canna faw haud lass lassie mak sae sic twa wee
        yer
    eu: zer zein nora noiz nola zergatik zenbat dira ditu dut naiz nire zure idatzi esan kontatu itzuli piztu itzali
        jarri asmatu mesedez orain gaur bihar atzo guztiak baina edo ere gehien onena hau hori buruz bizi jende daukat
        dago daude
    la: quis quid quae quod ubi cur sed dic mihi tibi narra verte quomodo homines possum hanc nunc hodie heri cras
        aliquid sine apud urbem
    cy: beth yw pwy ble pryd sut ysgrifennwch mae'r mae'n sy'n i'r o'r a'r ydy ydw dw dwi wyt oes rho rho'r dwed
        cyfieitha chwaraea diffodd nawr heddiw yfory ddoe gyfer fy dy gan neu ond petra piv pegoulz peseurt eus gant
        evit eo ganin
    ga: cé cá conas cathain cén agus faoin faoi tá bhfuil níl mé sé muid sibh ag ó dom duit orm ort seo anois inniu
        inné amárach inis cuir scríobh aistrigh múch mhéad duine cò dè ciamar càite cuin carson bheil thu aig leis
        dhomh dhut innis sgrìobh cia mheud magh shoh ayns
    sq: cili cila çfarë cfare kush pse është eshte janë nje një dhe ose për në të së më shkruaj trego përkthe vendos
        fik ndize gjej sot nesër dje gjitha ime jetojnë mund
    is: hver hvað hvar hvenær hvernig hversu hvers að skrifaðu segðu þýddu spilaðu slökktu kveiktu finndu mér minn mín
        þú ég hann hún við þið frá á með án ekki eða margir nú í gær morgun öllum eru verður kemur hvussu hvat hvør
        nær mær okkum býr
    mt: x'inhi x'inhu x'hemm meta fejn għaliex kif kemm tal fuq għal dawk hija jien aħna għandi għidli ikteb issa
        illum għada lbieraħ kollha iktar nies
    ht: mwen kisa kiyès kijan kote kilè poukisa konbyen pral ak yon fè rakonte tradui limen rele bezwen kounye jodi
        demen yè moun ekri jwenn l'ap
    eo: kio kiu kie kiam kiel kial kiom kia kies estis skribu aŭ ĉu ŝi ĉi tiu tiun ĉiuj ĉiujn nun hodiaŭ morgaŭ hieraŭ
        traduku rakontu ŝaltu malŝaltu povas
    ca: quina quin quines quins què quan quant els unes amb fins escriu dona'm digues explica'm tradueix encén més
        molt també però aquest aquesta això meva seva avui demà ahir ara tots totes diferència recepta millors millor
        fa fas ets són pel dels vull puc onte dende miña unha dun dunha máis cos coa ás tamén cousa cóntame mellor
        temps farà deman cossí perqué dempuèi aquel
    ku: çi çawa kî kê kengî kengê bi û jî ew wî wê ev ê yê yên sibe îro duh bêje navê heye nîne çend
    tk: näme nähili nirede haçan näçe üçin bilen barada maňa meniň seniň ber ýazyp aýdyp däl
    qu: imataq pitaq pi maypi maymanta hayk'aq imayna hayka kay chay ñuqa qam huk kanki ari mba'e mba'éichapa mávapa
        moõpa peteĩ emombe'u
    mi: aha ngā tō tau ahau koe ia mātou hia pehea mō ō āpōpō inanahi kōrerotia ʻo kou keia kēia nā tala
    tpi: bilong dispela wanpela yumi mipela ol husat wanem hamas olsem tru gat stap bikpela wetem nomo
    hy: inchpes inchu ov vortegh yerb qo patmir vaghy klini rogor vin rodis ratom shen momikevi khval iqneba khar
        arian aris
    th: phom khun khrap krub krap kha sawasdee sabai dee arai ngai nai tao rai yuu khao jai loei lae
    mn: yaaj haana hezee yamar nadad
"""

# Scots, and creoles of English: their other words look English, so one of these says as much as three foreign ones.
_NEIGHBOURS = """
    sco: aboot afore anither athoot atween ayont disna dochter fowks haein ilka jist juist nivver onybody shuid speir
        stane stert thocht thrie tuik warld wey whilk widna winna aff aifter awa awbody bairn bairns baith braw cannae
        cauld couldnae dae daein dinnae dinna didnae disnae doon doun fae fash frae fower fowk gae gaun gie gied
        greetin guid haes hame havenae hes hoo hou hoose isnae ither itsel kens mair maist mebbe mither mony muckle
        nae naebody naethin nane naw oor oot ootside ower richt shair shoudnae sma syne tae tell't thae thaim
        thegither thir urnae wasnae weel wha whae whaur whan whase whit willnae wisnae wrang wrate yersel yin yins
        youse
    pcm: abeg wetin wey wahala pikin nko oyibo sef comot shey pesin kain una dey jare
    jam: weh yuh cyaan gwaan likkle pickney unnu inna pon seh waan mek tek deh nuh haffi cyah yaad
"""

_WEAK_FOREIGN = """
    ami ang ano aux avant bei buenos cel cha con dei del dem der des det din est eta har hoc hola hou hua hur ist kami
    kara kia kita las les los mai mang mas mis mit nei ova par pas por pour que rele sao seda ser sine som sou soy sur
    tak til toda tous tum una und vad van var viet vil wee yeh
"""


ENGLISH = frozenset(_ENGLISH.split())
NEIGHBOURS = frozenset(word for word in _NEIGHBOURS.split() if not word.endswith(":"))
WEAK_ENGLISH = frozenset(_WEAK_ENGLISH.split())
_words = frozenset(word for word in _FOREIGN.split() if not word.endswith(":"))
WEAK_FOREIGN = frozenset(_WEAK_FOREIGN.split()) | {word for word in _words if len(word) <= 2}
FOREIGN = _words - WEAK_FOREIGN
