"""Small words that give a language away: written by hand for this project.

Accents are dropped on both sides before comparing, so that "por qué" and "por que" are one. Words
that English shares with another language ("die", "was", "me") and particles that English prompts
carry in names ("La Paz", "Leonardo da Vinci") stand in no list.
"""

_ENGLISH = """
    about after also and another any are aren't as at be because been before being benefits best
    between biography but by can can't causes could describe did didn't do does doesn't doing don't
    during each every explain explained few find for from get give good had has have he hello help
    her here his how how's i'll i'm i've ideas if in into isn't it it's its just let's list make
    many might more most much must my name not of on only onto other our over please recipe shall
    she should show some such summary symptoms tell than thank thanks that the their them then
    there these they this those through tips to too under us use versus very we were what what's
    when where where's which while who who's whom whose why why's will with without won't would
    write yes you you're your
"""

ENGLISH = frozenset(_ENGLISH.split())

_OTHERS = {
    "de": """
        dem und ist ein eine einen einem eines nicht ich er wir ihr mir mich dir dich wie
        wer wo warum wann welche welcher welches kann kannst mit fur zu zum zur auf aus
        bei nach uber auch noch bitte schreibe schreib gib erklare nenne hilf viele sind
        wird im
    """,
    "fr": """
        est sont dans sur avec sans que qui quoi quel quelle quels quelles pourquoi
        combien je elle nous vous mon mes tes ce cette ces moi peux peut ou au aux ecris
        donne explique raconte liste c'est l'eau qu'est
    """,
    "es": """
        una unos es por para que quien cual cuales como cuando donde cuantos cuanto
        cuantas yo mis tus sus este esta estos dame escribe explica cuentame puedo puedes
        puede mas muy sobre
    """,
    "it": """
        gli una uno della dei delle che chi cosa quando dove perche quale quali quanto
        quanti sono senza sul nel nella mio mia dammi scrivi spiega raccontami puoi piu
        alla alle alcuni un'altra qual
    """,
    "pt": """
        os uma uns dos na nos nas sao por para com sem que quem qual quais como quando
        onde quantos eu meu minha meus voce escreva explique conte pode mais sobre ao nao
    """,
    "nl": """
        het een en ik je jij hij zij wij mij mijn dat deze wie wat waar waarom hoe hoeveel
        wanneer welke kan kun met voor naar op uit bij ook niet geef schrijf vertel leg om
        wordt er zijn ligt mag
    """,
    "sv": """
        och ett ar som pa det vad vem hur varfor nar var vilken vilka jag han hon mig min
        mina kan med utan till fran om av inte ge skriv beratta forklara manga bli blir
        ligger har ska
    """,
    "da": """
        og er som pa det hvad hvem hvordan hvorfor hvornar hvor hvilken hvilke jeg han hun
        mig min med uden til fra om af ikke giv skriv fortael forklar mange bliver ligger
        hva kan gi meg nar sette
    """,
    "fi": """
        ja ei mika mita mitka miten miksi milloin missa kuka kuinka mina sina han minulle
        voitko ovat oli kun kirjoita kerro anna selita tama ole mista onko mikset
    """,
    "pl": """
        w na z jest nie jak jaki jaka jakie kto kiedy gdzie dlaczego ile czy moj moja mnie
        dla od po napisz podaj opowiedz wyjasnij prosze sie ktory ktora przez
    """,
    "cs": """
        je jsou v na z jak jake jaky jaka kdo kdy kde proc kolik muj moje od po napis dej
        vysvetli prosim ktery ktera ako preco kto kedy kolko ty byl bude zitra
    """,
    "tr": """
        bir bu nedir nasil neden kim nerede kac icin ile mu cok daha bana benim yaz anlat
        ver olarak en kadar lutfen hangi var misin olan gibi
    """,
    "id": """
        yang dan ke dari apa siapa bagaimana mengapa kenapa kapan dimana berapa ini itu
        saya aku kamu anda untuk dengan tolong tulis tuliskan jelaskan berikan buat adalah
        cara tidak bisa ada oleh agar apakah sebutkan
    """,
    "vi": """
        toi ban cua va nhung mot cac cho khong nguoi trong duoc gi nao sao viet dau ke
        giai thich nhu nam mai tieng thoi tiet lam bai tho
    """,
    "ro": """
        este sunt din cu pe care cine cum cand unde cat cati ce mai pentru nu eu mie imi
        scrie spune explica da-mi poti cel cea sau va fi despre
    """,
    "hu": """
        es egy hogy ki hol mikor miert hogyan milyen melyik hany nem irj adj mondj
        magyarazd kell lesz az meg kerlek ami ez
    """,
    "ru": """
        chto kto kak kakoy kakaya kogda gde pochemu skolko mne menya rasskazhi napishi
        pozhaluysta eto zavtra na ty yaka yak khto shcho bude
    """,
    "hi": """
        hai hain ka ki ke ko kya kaun kaise kab kahan kyon kyu mujhe mera meri tum aap
        mein ek nahi batao bata karo sunao karta sakte bahut bada hota hoti sab
    """,
    "zh": """
        wo ni zenme shenme nali weishenme gei jiang yige qing jintian mingtian tianqi
        zhongguo
    """,
    "ja": """
        wa wo ga ni desu ka doko nani itsu naze kudasai watashi kono sono nihon ashita
        masu shite kaite
    """,
    "ko": """
        annyeonghaseyo oneul nalssi juseyo mwo nugu eodi wae hangug
    """,
    "el": """
        kai einai pou pote pios poios poia mou sou mia ena gia stin sto tha tin parakalo
        pes
    """,
    "ar": """
        hiya kayfa halak min ila hal ana anta huwa madha
    """,
    "fa": """
        ast chetore emrooz shoma kojast hale mikonam
    """,
    "he": """
        ani ata shel shelcha hayom lama kama
    """,
    "tl": """
        ang ng mga ano sino bakit paano kailan saan ako ikaw ko mo siya para kung ay isang
        tungkol ka
    """,
    "sw": """
        ni wa kwa na nini nani lini wapi kuhusu nipe andika niambie kama jinsi gani
    """,
    "af": """
        hoe hoekom nie vir asseblief skryf vertel gee waar
    """,
    "hr": """
        je koji koja koje sto sta tko ko kako zasto kada gdje na od za napisi reci daj
    """,
    "bg": """
        kakvo shte bude koi koy kade zashto koga koya stolitsata na
    """,
    "et": """
        ja mis kes kus millal miks kuidas palju minu sina kirjuta raagi
    """,
    "lt": """
        kas ir kur kada kodel kaip yra mano parasyk kokia koks apie uzraksti ko
    """,
    "eu": """
        zer zein nor non noiz nola eta bat nire idatzi
    """,
    "la": """
        quis quid ubi quando cur sunt ad cum urbem scribe
    """,
    "cy": """
        beth yw pwy ble pryd sut pam yn ysgrifennwch
    """,
    "ga": """
        cad conas cathain na agus faoin
    """,
    "sq": """
        cili eshte nje dhe shkruaj kur cfare
    """,
    "is": """
        hver hvad hvar hvenaer hvernig er ad og skrifadu
    """,
    "eo": """
        kio kiu kie kiam kiel kial estas pri skribu
    """,
    "ca": """
        quina quin qui que com quan els una escriu dona'm
    """,
    "ur": """
        hai ka ki kaun kya
    """,
}

FOREIGN = frozenset(word for words in _OTHERS.values() for word in words.split())
