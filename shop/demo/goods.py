"""The demo catalog as a table. Everything here is fixed: a seeded shop has the same ids, links, texts and prices anywhere.

The picture of a product is `static/pictures/<sku in lower case>.svg`.
"""

from typing import NamedTuple


class Shelf(NamedTuple):
    """A category before it is in a shop; its place in `SHELVES` is its rank."""

    slug: str
    name: str


class Good(NamedTuple):
    """A product before it is in a shop; its place in `GOODS` is the order in which they went on the shelves."""

    sku: str
    shelf: str  # the slug of its category
    name: str
    slug: str
    price_cents: int
    stock: int
    description: str


SHELVES = (
    Shelf("tea-and-kitchen", "Tea & Kitchen"),
    Shelf("maps-and-globes", "Maps & Globes"),
    Shelf("outdoors", "Outdoors"),
    Shelf("travel", "Travel"),
    Shelf("home", "Home"),
    Shelf("desk", "Desk"),
)

GOODS = (
    # Tea & Kitchen
    Good(
        "TEA-MUG",
        "tea-and-kitchen",
        "Enamel Mug “Two Peaks”",
        "enamel-mug-two-peaks",
        1450,
        820,
        "A mug for the windowsill and for the tailgate. The enamel shrugs off campfires and dishwashers alike; if you drop it, "
        "it chips a little and looks better for it.\n\n"
        "Enamelled steel with a rolled rim. 350 ml, 8 cm high. Not for the microwave.",
    ),
    Good(
        "TEA-POT",
        "tea-and-kitchen",
        "Stoneware Teapot",
        "stoneware-teapot",
        4200,
        540,
        "A round, plain, good teapot. It pours without dripping, which is most of what one asks of a teapot, and it keeps a second "
        "cup warm while you drink the first.\n\n"
        "Glazed stoneware with a steel strainer. 900 ml, enough for three cups. Dishwasher safe.",
    ),
    Good(
        "TEA-TIN",
        "tea-and-kitchen",
        "Tea Tin with Inner Lid",
        "tea-tin-with-inner-lid",
        1650,
        960,
        "Light, air and the spice rack are what make tea go stale. This tin keeps all three out: a tight inner lid, a second one "
        "over it, and no window to show off.\n\n"
        "Painted tinplate. Holds about 125 g of loose leaf. Wipe clean; please keep it out of the dishwasher.",
    ),
    Good(
        "TEA-KETTLE",
        "tea-and-kitchen",
        "Whistling Kettle",
        "whistling-kettle",
        5900,
        610,
        "One honest note when the water boils, and silence when you lift it off. The handle stays cool and the base is flat, so "
        "it works on every kind of hob.\n\n"
        "Enamelled steel, beech grip. 2.0 litres. Gas, electric and induction.",
    ),
    Good(
        "TEA-TOWEL",
        "tea-and-kitchen",
        "Linen Tea Towels, Set of Two",
        "linen-tea-towels",
        2400,
        1100,
        "Stiff on the first day, soft by the tenth wash, and still drying glasses without lint years later. One cream, one the "
        "colour of deep water.\n\n"
        "100% washed linen with a cotton loop. 50 × 70 cm each. Machine wash at 60 °C.",
    ),
    Good(
        "TEA-HONEY",
        "tea-and-kitchen",
        "Wildflower Honey with Dipper",
        "wildflower-honey",
        1290,
        700,
        "Whatever was flowering within three kilometres of the hives, in a jar. It sets in winter, which is how honey says that "
        "nobody has boiled it; stand the jar in warm water and wait.\n\n"
        "500 g in a glass jar, with a dipper turned from pear wood. Not for children under one year.",
    ),
    # Maps & Globes
    Good(
        "MAP-GLOBE",
        "maps-and-globes",
        "Desk Globe",
        "desk-globe",
        8900,
        3,
        "Put one finger on your home, another exactly opposite, and you will most likely be pointing at the sea. It is the "
        "quickest way we know to find your antipode.\n\n"
        "25 cm sphere on a tilted beech arm and a weighted foot. Relief shading, no lamp, no batteries.",
    ),
    Good(
        "MAP-WORLD",
        "maps-and-globes",
        "Folding World Map",
        "folding-world-map",
        1850,
        880,
        "Made for being unfolded on kitchen tables. Borders are thin, mountains are not, and there is a wide margin for the "
        "routes you draw yourself.\n\n"
        "Scale 1:30 million, 119 × 84 cm, printed on tear-resistant paper. Folds to 12 × 21 cm.",
    ),
    Good(
        "MAP-COMPASS",
        "maps-and-globes",
        "Brass Compass",
        "brass-compass",
        4600,
        650,
        "It needs no signal, no charge and no update. The case will darken where your thumb rests; the needle will go on "
        "pointing where it points now.\n\n"
        "Solid brass case, 5 cm, liquid-damped needle, balanced for both hemispheres. With a cotton pouch.",
    ),
    Good(
        "MAP-STARS",
        "maps-and-globes",
        "Planisphere, Both Skies",
        "planisphere-both-skies",
        2200,
        760,
        "Turn the disc to tonight’s date and hour, and hold it over your head: these are the stars you are looking at. One side "
        "for the northern sky, one for the southern.\n\n"
        "Weatherproof plastic, 29 cm. For latitudes from 30° to 60° on either side of the equator.",
    ),
    Good(
        "MAP-TUBE",
        "maps-and-globes",
        "Map Tube with Strap",
        "map-tube-with-strap",
        3400,
        520,
        "Maps hate two things: rain and the bottom of a rucksack. The tube keeps them dry and round, and hangs from the shoulder "
        "like something an expedition would carry.\n\n"
        "Waxed canvas over a stiff core. Inside 70 cm long, 9 cm wide; holds sheets up to A1.",
    ),
    Good(
        "MAP-ATLAS",
        "maps-and-globes",
        "Pocket Atlas",
        "pocket-atlas",
        2650,
        930,
        "Small enough for a coat, large enough to get lost in. It has ninety-six pages of maps, an index of twelve thousand "
        "places, and a ribbon to keep yours.\n\n"
        "Cloth binding, thread-sewn, 11 × 17 cm, 192 pages.",
    ),
    # Outdoors
    Good(
        "OUT-LANTERN",
        "outdoors",
        "Storm Lantern",
        "storm-lantern",
        4900,
        0,
        "The shape has not changed in a century, because wind has not changed either. It burns for a long evening on one filling "
        "and gives the kind of light that ends arguments.\n\n"
        "Painted steel and heatproof glass, 26 cm high, 300 ml tank. Lamp oil not included. Outdoors only.",
    ),
    Good(
        "OUT-BOTTLE",
        "outdoors",
        "Trail Bottle",
        "trail-bottle",
        2950,
        1200,
        "Cold for a day, hot for a night, and quiet when it knocks against a rock. The mouth is wide enough for ice and for a "
        "bottle brush.\n\n"
        "Double-walled stainless steel, 750 ml, 340 g. The cap has a loop for a strap.",
    ),
    Good(
        "OUT-TENT",
        "outdoors",
        "Two-Person Canvas Tent",
        "two-person-canvas-tent",
        24900,
        500,
        "Cotton breathes, so you wake up dry from the inside too. It takes one person ten minutes to put up, or two people "
        "fifteen, in our experience.\n\n"
        "Proofed cotton canvas, sewn-in floor, steel poles. 210 × 150 cm inside, 6.8 kg with pegs and bag.",
    ),
    Good(
        "OUT-BINOCULARS",
        "outdoors",
        "Field Binoculars 8 × 32",
        "field-binoculars",
        13900,
        560,
        "Eight times nearer is the most a pair of hands can hold still. The view is bright at dawn, when most of the birds "
        "are up and most of the people are not.\n\n"
        "Coated glass, close focus at 2 m, waterproof to 1 m. 540 g. With a strap, a case and a cloth.",
    ),
    Good(
        "OUT-SOCKS",
        "outdoors",
        "Walking Socks, Two Pairs",
        "walking-socks",
        2700,
        1150,
        "Padded where boots rub and thin where they do not. Wool stays warm when wet and does not mind a second day, should "
        "there be no river.\n\n"
        "70% merino wool, 28% polyamide, 2% elastane. One pair in mustard, one in sage. One size fits 38 to 44.",
    ),
    Good(
        "OUT-HAT",
        "outdoors",
        "Wide-Brimmed Sun Hat",
        "wide-brimmed-sun-hat",
        3600,
        640,
        "A garden’s worth of shade that fits in a suitcase: the brim can be rolled up, forgotten, and pressed flat again with "
        "a little steam.\n\n"
        "Woven palm leaf with a cotton band that adjusts from 55 to 60 cm. Brim 9 cm.",
    ),
    # Travel
    Good(
        "TRV-DUFFEL",
        "travel",
        "Weekend Duffel",
        "weekend-duffel",
        11900,
        580,
        "Holds three days, or a week if you are disciplined. Long handles for the shoulder, short ones for the train, and one "
        "pocket for the thing you always look for.\n\n"
        "18 oz cotton canvas, leather straps, brass zip. 52 × 28 × 28 cm, 40 litres. Fits most overhead racks.",
    ),
    Good(
        "TRV-TAG",
        "travel",
        "Leather Luggage Tag",
        "leather-luggage-tag",
        1590,
        1050,
        "Suitcases go to the other side of the Earth all the time. This one helps yours come back: a window for your address, "
        "and a loop that does not let go.\n\n"
        "Vegetable-tanned leather, 7 × 11 cm, with three address cards.",
    ),
    Good(
        "TRV-WALLET",
        "travel",
        "Passport Wallet",
        "passport-wallet",
        3900,
        720,
        "Passport, boarding pass, two cards and some of the money you will need to spend before you leave. It closes with a "
        "snap that you can hear, so you know.\n\n"
        "Waxed canvas with a cotton lining. 11 × 15 cm closed. A pen fits along the spine.",
    ),
    Good(
        "TRV-CUBES",
        "travel",
        "Packing Cubes, Set of Three",
        "packing-cubes",
        3200,
        990,
        "Drawers for people who live out of a bag. Large for shirts, medium for whatever is under them, small for the cables "
        "that otherwise find each other.\n\n"
        "Recycled polyester with mesh windows. 40 × 30, 30 × 22 and 24 × 16 cm. Machine wash at 30 °C.",
    ),
    Good(
        "TRV-PILLOW",
        "travel",
        "Neck Pillow",
        "neck-pillow",
        2890,
        830,
        "Nobody has ever looked dignified in one, and everybody has slept better. The clasp at the front keeps your head from "
        "nodding at strangers.\n\n"
        "Memory foam with a washable cotton cover. Packs down to the size of a melon. 280 g.",
    ),
    Good(
        "TRV-ADAPTER",
        "travel",
        "Antipodes Travel Adapter",
        "antipodes-travel-adapter",
        1990,
        1180,
        "For sockets whose slots lean inwards. It turns a European plug into one that fits Australia and New Zealand, with a "
        "fuse, and without promising to do anything else.\n\n"
        "Type C and F to type I, 10 A, 230 V. An adapter, not a transformer.",
    ),
    # Home
    Good(
        "HOM-BLANKET",
        "home",
        "Striped Wool Blanket",
        "striped-wool-blanket",
        12900,
        530,
        "Heavy enough to hold you in the chair. Woven from wool that was left a little rough on purpose, and softens over the "
        "winters.\n\n"
        "100% new wool, 140 × 200 cm with fringes, 1.4 kg. Air it rather than wash it; dry-clean if you must.",
    ),
    Good(
        "HOM-CUSHION",
        "home",
        "Harbour Sunset Cushion",
        "harbour-sunset-cushion",
        4400,
        670,
        "A sun going down over water, or coming up, depending on which side of the Earth you sit. The picture is woven in, not "
        "printed, so it will not wash away.\n\n"
        "Cotton cover, 50 × 50 cm, hidden zip, feather filling included.",
    ),
    Good(
        "HOM-CANDLE",
        "home",
        "Beeswax Candles, Pair",
        "beeswax-candles",
        1850,
        1080,
        "They smell of honey when lit and of nothing much when not, which is how we like it. Twisted by hand while the wax is "
        "warm; no two are quite the same height.\n\n"
        "Pure beeswax, 24 cm, burn for about nine hours each. Holders are not included.",
    ),
    Good(
        "HOM-CLOCK",
        "home",
        "Day-and-Night Wall Clock",
        "day-and-night-wall-clock",
        7400,
        600,
        "Half of the dial is day and half is night, because it is always both somewhere. When it is noon here, the same hands say "
        "midnight on the far side. Good for families with someone far away.\n\n"
        "Walnut frame, 30 cm, silent movement. One AA battery, not included.",
    ),
    Good(
        "HOM-FERN",
        "home",
        "Fern in a Clay Pot",
        "fern-in-a-clay-pot",
        2300,
        510,
        "Asks for shade, a weekly drink and not to be moved too often. In return it puts out a new frond whenever you have "
        "stopped watching.\n\n"
        "About 40 cm tall, in a 15 cm terracotta pot with saucer. Harmless to cats, and the other way round not always.",
    ),
    Good(
        "HOM-BASKET",
        "home",
        "Market Basket",
        "market-basket",
        3800,
        590,
        "For bread, leeks, library books and the walk back. The handle is wound so that it does not cut, even when you meet "
        "somebody and stop to talk.\n\n"
        "Willow on an oak frame, 38 × 28 cm, 20 cm deep. Carries 8 kg.",
    ),
    # Desk
    Good(
        "DSK-NOTEBOOK",
        "desk",
        "Field Notebook",
        "field-notebook",
        1350,
        1190,
        "Lies flat, takes pencil in the rain and ink in the dry, and numbers its own pages so that you can find Tuesday again. "
        "The elastic is for the bad weather.\n\n"
        "13 × 21 cm, 160 dotted pages, thread-sewn, with a ribbon and a pocket at the back. Pencil not included.",
    ),
    Good(
        "DSK-PEN",
        "desk",
        "Fountain Pen",
        "fountain-pen",
        5200,
        620,
        "Starts at the first touch and stays out of your way. The nib gives a little under pressure, which makes even a "
        "shopping list look meant.\n\n"
        "Resin barrel, medium steel nib, converter included; takes standard cartridges too.",
    ),
    Good(
        "DSK-INK",
        "desk",
        "Deep Sea Ink",
        "deep-sea-ink",
        1600,
        870,
        "Blue while it is wet, nearly black when it has dried, with a green somewhere in between that only shows in a good light. "
        "It washes out of fingers, in time.\n\n"
        "50 ml in a glass bottle you will want to keep. Dye ink, safe for fountain pens; not waterproof.",
    ),
    Good(
        "DSK-LAMP",
        "desk",
        "Swing-Arm Desk Lamp",
        "swing-arm-desk-lamp",
        8400,
        550,
        "Stays where you put it, because the joint is a real one and not a hope. A warm circle on the page, and the rest of the "
        "room left to the evening.\n\n"
        "Painted steel, 48 cm high, fabric cable 180 cm. E27 bulb up to 40 W, LED bulb included.",
    ),
    Good(
        "DSK-POSTCARDS",
        "desk",
        "Postcards, Set of Twelve",
        "postcards-set-of-twelve",
        990,
        1120,
        "Four seas, four mountains, four harbours, and room for about forty words each: enough to say where you are and who you "
        "thought of.\n\n"
        "300 g card, uncoated on the back so that ink dries, 10.5 × 14.8 cm. Stamps not included.",
    ),
    Good(
        "DSK-PENCILS",
        "desk",
        "Pencils in a Stoneware Cup",
        "pencils-in-a-stoneware-cup",
        2100,
        740,
        "Four pencils in four grades, from the one for drawing to the one for crosswords, in a cup that will outlive them and take "
        "in others.\n\n"
        "Cedar pencils 2H, HB, 2B and 4B; glazed cup 10 cm high. Sharpener not included.",
    ),
)
