"""What is written short and spoken long: abbreviations, units, currencies, months and symbols."""

# Case matters, as it does below. The full stop is part of the abbreviation.
ABBREVIATIONS: dict[str, str] = {
    "Mr.": "Mister", "Mrs.": "Missus", "Ms.": "Miz", "Dr.": "Doctor", "Prof.": "Professor",
    "Jr.": "Junior", "Sr.": "Senior", "Capt.": "Captain", "Gen.": "General", "Sgt.": "Sergeant",
    "Lt.": "Lieutenant", "Col.": "Colonel", "Gov.": "Governor", "Sen.": "Senator",
    "Rep.": "Representative", "Rev.": "Reverend", "Hon.": "Honorable", "St.": "Saint",
    "Mt.": "Mount", "Ft.": "Fort", "Ave.": "Avenue", "Blvd.": "Boulevard", "Rd.": "Road",
    "Inc.": "Incorporated", "Ltd.": "Limited", "Corp.": "Corporation", "Co.": "Company",
    "Dept.": "Department", "Univ.": "University", "Approx.": "Approximately",
    "approx.": "approximately", "e.g.": "for example", "E.g.": "For example",
    "i.e.": "that is", "I.e.": "That is", "etc.": "et cetera", "vs.": "versus", "Vs.": "Versus",
    "al.": "al", "cf.": "compare", "a.m.": "AM", "p.m.": "PM", "A.M.": "AM", "P.M.": "PM",
    "Ph.D.": "PhD", "a.k.a.": "also known as", "govt.": "government", "dept.": "department",
    "Jan.": "January", "Feb.": "February", "Apr.": "April", "Aug.": "August",
    "Sept.": "September", "Sep.": "September", "Oct.": "October", "Nov.": "November",
    "Dec.": "December", "dr.": "doctor", "mr.": "mister", "mrs.": "missus", "jr.": "junior", "sr.": "senior",
    "inc.": "incorporated", "ltd.": "limited", "PH.D.": "PhD", "Esq.": "Esquire", "M.D.": "MD",
}  # fmt: skip
# These may end a sentence, where a capital follows; the others stand before a name.
MAY_END = frozenset((
    "etc.", "Jr.", "Sr.", "Inc.", "Ltd.", "Co.", "Corp.", "al.", "a.m.", "p.m.", "A.M.", "P.M.", "Ave.", "Blvd.", "Rd.",
    "Ph.D.", "PH.D.", "M.D.", "Esq.", "jr.", "sr.", "inc.", "ltd.",
))  # fmt: skip

# People spell these, and eSpeak makes a word of them (found by asking it).
SPELLED = (
    "ACLU", "AFC", "AFL", "AFP", "ALS", "AMA", "AP", "APA", "APR", "ATP", "AWD", "AWS", "BEA", "COPD", "EA", "ECB",
    "ECG", "ECU", "EEG", "EKG", "EMT", "EPA", "ERP", "ESA", "ESL", "ETA", "ETF", "HOA", "IBS", "ICU", "IDE", "IED",
    "IIT", "IMF", "IOC", "IOU", "IPL", "IPO", "IQ", "ISS", "IUD", "IVF", "LED", "NCAA", "NYC", "OED", "PTO", "SAT",
    "SEC", "UAE", "UAV", "UFC", "UPS", "USC", "USDA", "UX",
)  # fmt: skip

# What "no" before a number numbers: Symphony no 40.
NUMBERED_BY_NO = (
    "symphony", "concerto", "sonata", "opus", "op", "issue", "volume", "question", "room", "bus", "platform",
    "chapter", "psalm", "league", "ranked", "mambo",
)  # fmt: skip
# Only before a number.
NUMBERED: dict[str, str] = {
    "No.": "number", "no.": "number", "Nos.": "numbers", "Fig.": "Figure", "fig.": "figure",
    "Figs.": "Figures", "figs.": "figures", "Eq.": "Equation", "eq.": "equation",
    "Ch.": "Chapter", "ch.": "chapter", "Sec.": "Section", "sec.": "section",
    "Vol.": "Volume", "vol.": "volume", "p.": "page", "pp.": "pages", "Mar.": "March",
    "est.": "established", "Est.": "Established",
}  # fmt: skip

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip

# A number of three or four digits after one of these is a name: Route one oh one, Boeing seven forty-seven.
CALLED_BY_NUMBER = (
    "Highway", "highway", "Hwy", "Route", "route", "Interstate", "Room", "room", "Suite", "Apartment", "Apt.", "Apt",
    "Flight", "flight", "Gate", "Boeing", "Airbus", "Porsche", "Xbox", "HTTP", "Error", "error", "Fahrenheit", "Bus",
    "Locker", "Exit", "RTX", "GTX", "Ryzen", "Radeon", "Nikon", "Canon", "Peugeot", "Nokia", "Atari", "Studio",
)  # fmt: skip
# Biology 101 is a course, and Chapter 101 and Add 101 are not.
NOT_A_COURSE = frozenset((
    "Chapter", "Page", "Section", "Number", "Line", "Question", "Problem", "Verse", "Level", "Step", "Item", "Add",
    "Subtract", "Divide", "Multiply", "Is", "Are", "Of", "Write", "Give", "List", "Find", "Count", "Convert", "Print",
    "Only", "The", "All", "In", "By", "With", "To", "From", "At", "On", "Over", "About", "And", "Or", "Top",
))  # fmt: skip
# Before a number with a point that is a version: Python three point eleven.
VERSIONED = frozenset((
    "Python", "python", "Version", "version", "Java", "Ubuntu", "iOS", "Android", "macOS", "PHP", "Ruby", "Node", "Go",
    "Rust", "CUDA", "Linux", "kernel", "Django", "Bluetooth", "USB", "PyTorch", "TensorFlow", "release", "Release",
    "Unity", "Swift", "Kotlin", "PostgreSQL", "Postgres", "MySQL", "Bootstrap", "TLS", "OpenGL", "DirectX", "js",
))  # fmt: skip

# A Roman numeral behind one of these is an ordinal: Henry the Eighth.
RULERS = frozenset((
    "Henry", "Louis", "Elizabeth", "Edward", "George", "James", "Richard", "Charles", "William", "Paul", "Benedict",
    "Pius", "Francis", "Philip", "Napoleon", "Nicholas", "Alexander", "Catherine", "Peter", "Ivan", "Mary", "Ramses",
    "Ramesses", "Frederick", "Wilhelm", "Innocent", "Gregory", "Leo", "Clement", "Urban", "Julius", "Leopold",
    "Gustav", "Christian", "Otto", "Ferdinand", "Alfonso", "Carlos", "Felipe", "Ptolemy", "Darius", "Xerxes", "Mehmed",
    "Selim", "Murad", "Thutmose", "Amenhotep", "Robert", "Malcolm", "John", "Joseph", "Margaret", "Stephen", "Harald",
    "Olav", "Haakon", "Maximilian", "Umberto", "Boniface", "Sixtus", "Eugene", "Pedro", "Manuel", "Sigismund",
))  # fmt: skip
# One letter is a numeral behind these: Act V. Behind any other capital word two letters or more are.
NUMBERED_IN_ROMAN = frozenset((
    "Chapter", "CHAPTER", "Part", "PART", "Act", "ACT", "Scene", "SCENE", "Book", "Volume", "Section", "Article",
    "Phase", "Type", "Class", "Level", "Stage", "Grade", "Appendix", "Title", "Mark", "Bowl",
))  # fmt: skip
NOT_BEFORE_ROMAN = frozenset((
    "The", "This", "That", "An", "And", "Or", "In", "Of", "With", "If", "Is", "Via", "My", "No", "For", "Start", "Size",
))  # fmt: skip

SHORT_MONTHS: dict[str, str] = {month[:3]: month for month in MONTHS if month != "May"} | {"Sept": "September"}

# After a number; case matters. "in" is left out: it is far more often the word.
UNITS: dict[str, tuple[str, str]] = {
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"),
    "mph": ("mile per hour", "miles per hour"),
    "m/s": ("meter per second", "meters per second"),
    "m/s^2": ("meter per second squared", "meters per second squared"),
    "mpg": ("mile per gallon", "miles per gallon"), "in.": ("inch", "inches"), "ins": ("inch", "inches"),
    "sq ft": ("square foot", "square feet"), "sq. ft.": ("square foot", "square feet"),
    "sq m": ("square meter", "square meters"), "sq mi": ("square mile", "square miles"),
    "sq km": ("square kilometer", "square kilometers"), "cu ft": ("cubic foot", "cubic feet"),
    "fps": ("frame per second", "frames per second"), "rpm": ("revolution per minute", "revolutions per minute"),
    "bpm": ("beat per minute", "beats per minute"), "ppm": ("part per million", "parts per million"),
    "bps": ("bit per second", "bits per second"), "kbps": ("kilobit per second", "kilobits per second"),
    "Mbps": ("megabit per second", "megabits per second"), "Gbps": ("gigabit per second", "gigabits per second"),
    "dB": ("decibel", "decibels"), "psi": ("pound per square inch", "pounds per square inch"),
    "hp": ("horsepower", "horsepower"), "gal": ("gallon", "gallons"), "qt": ("quart", "quarts"),
    "mAh": ("milliamp hour", "milliamp hours"), "dpi": ("dot per inch", "dots per inch"),
    "μm": ("micrometer", "micrometers"), "µm": ("micrometer", "micrometers"), "nm": ("nanometer", "nanometers"),
    "μg": ("microgram", "micrograms"), "µg": ("microgram", "micrograms"), "mcg": ("microgram", "micrograms"),
    "cl": ("centiliter", "centiliters"), "dl": ("deciliter", "deciliters"), "kJ": ("kilojoule", "kilojoules"),
    "kPa": ("kilopascal", "kilopascals"), "kN": ("kilonewton", "kilonewtons"), "kV": ("kilovolt", "kilovolts"),
    "mV": ("millivolt", "millivolts"), "mA": ("milliamp", "milliamps"), "GW": ("gigawatt", "gigawatts"),
    "mol": ("mole", "moles"), "wk": ("week", "weeks"), "wks": ("week", "weeks"), "cc": ("c c", "c c"),
    "kgs": ("kilogram", "kilograms"), "pct": ("percent", "percent"), "MPH": ("mile per hour", "miles per hour"),
    "k": ("thousand", "thousand"), "bn": ("billion", "billion"), "mn": ("million", "million"),
    "tn": ("trillion", "trillion"), "¢": ("cent", "cents"),
    "km": ("kilometer", "kilometers"), "cm": ("centimeter", "centimeters"),
    "mm": ("millimeter", "millimeters"), "m": ("meter", "meters"),
    "mi": ("mile", "miles"), "ft": ("foot", "feet"), "yd": ("yard", "yards"),
    "kg": ("kilogram", "kilograms"), "mg": ("milligram", "milligrams"), "g": ("gram", "grams"),
    "lbs": ("pound", "pounds"), "lb": ("pound", "pounds"), "oz": ("ounce", "ounces"),
    "ml": ("milliliter", "milliliters"), "mL": ("milliliter", "milliliters"),
    "L": ("liter", "liters"), "l": ("liter", "liters"), "tsp": ("teaspoon", "teaspoons"),
    "tbsp": ("tablespoon", "tablespoons"), "kB": ("kilobyte", "kilobytes"),
    "KB": ("kilobyte", "kilobytes"), "MB": ("megabyte", "megabytes"),
    "GB": ("gigabyte", "gigabytes"), "TB": ("terabyte", "terabytes"),
    "kHz": ("kilohertz", "kilohertz"), "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"), "Hz": ("hertz", "hertz"),
    "kWh": ("kilowatt hour", "kilowatt hours"), "kW": ("kilowatt", "kilowatts"),
    "MW": ("megawatt", "megawatts"), "W": ("watt", "watts"), "V": ("volt", "volts"),
    "ms": ("millisecond", "milliseconds"), "secs": ("second", "seconds"),
    "sec": ("second", "seconds"), "s": ("second", "seconds"), "mins": ("minute", "minutes"),
    "min": ("minute", "minutes"), "hrs": ("hour", "hours"), "hr": ("hour", "hours"),
    "h": ("hour", "hours"), "yrs": ("year", "years"), "yr": ("year", "years"),
    "kcal": ("kilocalorie", "kilocalories"), "px": ("pixel", "pixels"),
    "°C": ("degree Celsius", "degrees Celsius"),
    "°F": ("degree Fahrenheit", "degrees Fahrenheit"), "°": ("degree", "degrees"),
    "%": ("percent", "percent"),
}  # fmt: skip

# Behind a slash, after a unit or a sum of money.
PER: dict[str, str] = {
    "hour": "hour", "hr": "hour", "h": "hour", "day": "day", "d": "day", "week": "week", "wk": "week",
    "month": "month", "mo": "month", "year": "year", "yr": "year", "minute": "minute", "min": "minute",
    "second": "second", "sec": "second", "s": "second", "person": "person", "night": "night", "unit": "unit",
    "gallon": "gallon", "gal": "gallon", "mile": "mile", "lb": "pound", "kg": "kilogram", "L": "liter", "l": "liter",
    "mL": "milliliter", "ml": "milliliter", "km": "kilometer", "piece": "piece", "item": "item", "word": "word",
    "share": "share", "user": "user", "ticket": "ticket", "m": "meter",
}  # fmt: skip

# Symbol -> unit, units, hundredth, hundredths.
CURRENCIES: dict[str, tuple[str, str, str, str]] = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "¥": ("yen", "yen", "sen", "sen"),
}

# Before a dollar sign.
DOLLARS: dict[str, str] = {
    "US": "US", "C": "Canadian", "CA": "Canadian", "A": "Australian", "AU": "Australian", "NZ": "New Zealand",
    "HK": "Hong Kong", "S": "Singapore",
}  # fmt: skip

# Before or after a number, where they stand for a sign.
CURRENCY_CODES: dict[str, str] = {
    "USD": "US$", "CAD": "C$", "AUD": "A$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹", "Rs": "₹",
}  # fmt: skip

MAGNITUDES: dict[str, str] = {
    "k": "thousand", "K": "thousand", "m": "million", "M": "million", "bn": "billion",
    "b": "billion", "B": "billion", "T": "trillion", "tn": "trillion",
}  # fmt: skip

# The longest is said where one begins another.
SYMBOLS: dict[str, str] = {
    "<=": "less than or equal to", ">=": "greater than or equal to", "!=": "not equal to",
    "!==": "not equal to", "===": "equals", "==": "equals", "+=": "plus equals", "-=": "minus equals",
    "*=": "times equals", "->": "to", "=>": "to", "&": "and", "@": "at", "#": "number", "%": "percent",
    "*": "asterisk", "+": "plus", "=": "equals", "<": "less than", ">": "greater than",
    "~": "about", "^": "caret", "|": "bar", "\\": "backslash", "_": "underscore", "/": "slash",
    "$": "dollar", "£": "pound", "€": "euro", "¥": "yen", "₹": "rupee", "¢": "cents",
    "×": "times", "÷": "divided by", "±": "plus or minus", "≤": "less than or equal to",
    "≥": "greater than or equal to", "≠": "not equal to", "≈": "approximately", "→": "to",
    "√": "square root of", "∞": "infinity", "π": "pi", "°": "degrees", "©": "copyright",
    "®": "registered", "•": "", "™": "trademark", "§": "section", "µ": "micro", "⁄": "slash",
    "№": "number", "∑": "the sum of", "∫": "the integral of",
}  # fmt: skip
