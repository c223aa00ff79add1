package notes

import android.app.Activity
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView

/** A few words for screens that are made in code, so that the demo needs no library of widgets. */
internal fun Activity.column(vararg views: View): View {
    val column = LinearLayout(this).apply {
        orientation = LinearLayout.VERTICAL
        val edge = (16 * resources.displayMetrics.density).toInt()
        setPadding(edge, edge, edge, edge)
        views.forEach(::addView)
    }
    return ScrollView(this).apply {
        fitsSystemWindows = true
        addView(column)
    }
}

internal fun Activity.label(size: Float = 16f) = TextView(this).apply { textSize = size }

internal fun Activity.field(hint: String, text: String = "") = EditText(this).apply {
    this.hint = hint
    setText(text)
}

internal fun Activity.button(text: String, press: () -> Unit) = Button(this).apply {
    this.text = text
    setOnClickListener { press() }
}

internal fun Activity.list() = LinearLayout(this).apply {
    orientation = LinearLayout.VERTICAL
    layoutParams = ViewGroup.LayoutParams(ViewGroup.LayoutParams.MATCH_PARENT, ViewGroup.LayoutParams.WRAP_CONTENT)
}
