"""A small bookshop for the demo: acme's books, five of its readers and what they like.

The books have no embeddings yet, because no worker runs when the demo is made: the first recommendation makes them, free of
charge.
"""

from typing import Final

from inference.models import EndUser, Item
from inference.recommendations import audience
from inference.recommendations.entries import LikeEntry, UserEntry
from tenants.models import Tenant

_BOOKS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "gardening": (
        ("The Patient Orchard", "How to plant, prune and graft apple and pear trees."),
        ("Tomatoes on the Sill", "Growing vegetables in pots where there is no garden."),
        ("A Border for Every Shade", "Perennials and ferns for the dark side of the house."),
        ("Water Wisely", "Gardens that survive dry summers, and how to collect the rain."),
        ("The Compost Almanac", "What becomes of leaves, peels and cuttings in a year."),
        ("Roses without Fuss", "Old and hardy roses that need neither sprays nor an expert."),
        ("Seeds to Save", "Collecting, drying and sowing the seeds of your own plants."),
        ("The Winter Greenhouse", "Salads and herbs from November to March."),
    ),
    "astronomy": (
        ("Nights under Orion", "The sky of each month for the naked eye and binoculars."),
        ("A Short History of Telescopes", "From Galileo's lenses to mirrors in space."),
        ("Worlds of Other Suns", "How astronomers find planets around distant stars."),
        ("The Life of a Star", "From clouds of gas to white dwarfs and supernovae."),
        ("To the Moon and Back", "The engineers and astronauts of the Apollo missions."),
        ("Dark Matter, Plainly", "What galaxies tell of the mass that no telescope sees."),
        ("The Comet Hunters", "People who searched the sky for visitors from afar."),
        ("Living in Orbit", "Daily life, work and sleep on a space station."),
    ),
    "cooking": (
        ("One Pot, Thirty Dinners", "Stews, curries and soups for a weekday evening."),
        ("The Bread Notebook", "Sourdough, rye and rolls, hour by hour."),
        ("Salt, Smoke and Brine", "Preserving fish, meat and vegetables at home."),
        ("A Kitchen in Palermo", "Sicilian recipes with aubergines, almonds and lemons."),
        ("Noodles by Hand", "Ramen, udon and soba from flour and water."),
        ("Sweet and Slow", "Cakes and puddings that take their time."),
        ("The Lentil Book", "Sixty ways to cook beans, peas and lentils."),
        ("Knife, Board, Fire", "The techniques that every cook uses every day."),
    ),
    "cycling": (
        ("Across the Alps by Bicycle", "Fifteen passes, with maps and the best bakeries."),
        ("The Home Mechanic", "Brakes, chains and wheels: repairing a bike in the kitchen."),
        ("Riding through Winter", "Clothes, lights and tyres for cold commutes."),
        ("The Long Climb", "A history of the mountain stages of the great tours."),
        ("Panniers and Tents", "Touring with luggage, from a weekend to a year."),
        ("City on Two Wheels", "How towns became good places for bicycles."),
        ("Training by Feel", "Becoming a faster cyclist without a computer."),
        ("Gravel Roads", "Forest tracks and farm lanes for wider tyres."),
    ),
    "history": (
        ("The Salt Roads", "How one mineral made cities rich in the Middle Ages."),
        ("Letters from the Hanse", "Merchants of the Baltic in their own words."),
        ("A Harbour at War", "One port town from 1914 to 1919."),
        ("Queens of the Bronze Age", "Power and burial before there was writing."),
        ("The Printers of Venice", "The first century of books for ordinary readers."),
        ("Plague Year", "A village shuts its gates in 1666."),
        ("Canals and Coal", "The landscapes of the first industrial revolution."),
        ("The Map Makers", "How sailors, kings and spies drew the world."),
    ),
}
_READERS: Final[tuple[tuple[str, str, tuple[str, ...], tuple[int, ...]], ...]] = (
    ("reader-1", "Amara Okafor", ("gardening",), (1, 4, 7)),
    ("reader-2", "Jonas Lind", ("cycling", "cooking"), (25, 29, 18)),
    ("reader-3", "Mei Tanaka", ("astronomy",), (9, 11, 12, 14)),
    ("reader-4", "Luca Romano", ("history",), ()),
    ("reader-5", "Nora Weiss", (), ()),
)
"""Id, name, preferred categories, and numbers of liked books. One has told only what it prefers, and one nothing yet."""


def seed(tenant: Tenant) -> None:
    """Give the tenant its books and readers, unless it has any audience of its own."""
    if Item.objects.filter(tenant=tenant).exists() or EndUser.objects.filter(tenant=tenant).exists():
        return
    books = [(title, text, category) for category, found in _BOOKS.items() for title, text in found]
    Item.objects.bulk_create(
        Item(tenant=tenant, external_id=f"book-{number}", title=title, description=text, categories=[category])
        for number, (title, text, category) in enumerate(books, 1)
    )
    audience.upsert_users(
        tenant_id=tenant.pk, entries=[UserEntry(reader, name, prefers) for reader, name, prefers, _ in _READERS]
    )
    audience.add_likes(
        tenant_id=tenant.pk,
        entries=[LikeEntry(reader, f"book-{number}") for reader, _, _, likes in _READERS for number in likes],
    )
