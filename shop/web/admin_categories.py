"""The categories of the menu: the list, and a new one."""

import structlog
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import StringField

from shop import catalog
from shop.errors import Invalid, ShopError, WritesUnavailable
from shop.units import CatalogQuery
from shop.web.admin_auth import current_admin, login_required, refusal, retry_after
from shop.web.forms import ShopForm
from shop.web.services import services
from shop.web.updates import keep

bp = Blueprint("admin_categories", __name__, url_prefix="/admin/categories")
bp.register_error_handler(ShopError, refusal)

_log = structlog.get_logger("admin")


class CategoryForm(ShopForm):
    name = StringField()


@bp.get("")
@login_required
def index() -> ResponseReturnValue:
    return _page(CategoryForm())


@bp.post("")
@login_required
def create() -> ResponseReturnValue:
    """Keep a new category, or say what stands in the way beside what was typed."""
    form = CategoryForm(request.form)
    try:
        category = keep(lambda unit: catalog.create_category(unit, form.typed("name")))
    except Invalid as invalid:
        form.refuse(invalid.fields)
        return _page(form, status=invalid.status)
    except WritesUnavailable as unavailable:
        return _page(form, refused=unavailable)
    _log.info("category created", admin=current_admin(), category=category.id, slug=category.slug)
    flash(f"{category.name} is in the menu now, as the last one.")
    return redirect(url_for("admin_categories.index"), 303)


def _page(form: CategoryForm, *, status: int = 200, refused: WritesUnavailable | None = None) -> ResponseReturnValue:
    with services().repository.view() as unit:
        rows = [
            (category, unit.catalog(CatalogQuery(category_slug=category.slug, size=1)).total)
            for category in unit.categories()
        ]
    page = render_template(
        "admin/categories/index.html", form=form, rows=rows, sentence=refused.message if refused else ""
    )
    return page, refused.status if refused else status, retry_after(refused.retry_seconds if refused else None)
